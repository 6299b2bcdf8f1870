//! The codec crate's packets of MQTT 5, and ours.

use std::num::{NonZeroU16, NonZeroU32};

use rmqtt_codec::v5;

use super::{CodecError, filter, opt_text, packet_id, qos, text, to_qos, to_user, topic, user};
use crate::model::{Message, Properties, unfit_character};
use crate::mqtt::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, Publish, Reason, RetainHandling, SubAck, Subscribe,
    SubscribeOptions, Unsubscribe, Version, Will,
};

pub(super) fn from_wire(packet: v5::Packet) -> Result<Packet, CodecError> {
    let ack = |ack: v5::PublishAck| Ack { packet_id: ack.packet_id.get(), reason: Reason(ack.reason_code.into()) };
    let ack2 = |ack: v5::PublishAck2| Ack { packet_id: ack.packet_id.get(), reason: Reason(ack.reason_code.into()) };
    Ok(match packet {
        v5::Packet::Connect(connect) => Packet::Connect(Box::new(connect_from(*connect)?)),
        v5::Packet::ConnectAck(ack) => Packet::ConnAck(Box::new(conn_ack_from(*ack)?)),
        v5::Packet::Publish(publish) => Packet::Publish(publish_from(*publish)?),
        v5::Packet::PublishAck(p) => Packet::PubAck(ack(p)),
        v5::Packet::PublishReceived(p) => Packet::PubRec(ack(p)),
        v5::Packet::PublishRelease(p) => Packet::PubRel(ack2(p)),
        v5::Packet::PublishComplete(p) => Packet::PubComp(ack2(p)),
        v5::Packet::Subscribe(subscribe) => Packet::Subscribe(subscribe_from(subscribe)?),
        v5::Packet::SubscribeAck(ack) => Packet::SubAck(SubAck {
            packet_id: ack.packet_id.get(),
            reasons: ack.status.into_iter().map(|code| Reason(code.into())).collect(),
        }),
        v5::Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe(Unsubscribe {
            packet_id: unsubscribe.packet_id.get(),
            filters: unsubscribe.topic_filters.iter().map(|f| filter(f)).collect::<Result<_, _>>()?,
            user: user(unsubscribe.user_properties)?,
        }),
        v5::Packet::UnsubscribeAck(ack) => Packet::UnsubAck(SubAck {
            packet_id: ack.packet_id.get(),
            reasons: ack.status.into_iter().map(|code| Reason(code.into())).collect(),
        }),
        v5::Packet::PingRequest => Packet::PingReq,
        v5::Packet::PingResponse => Packet::PingResp,
        v5::Packet::Disconnect(d) => Packet::Disconnect(Disconnect {
            reason: Reason(d.reason_code.into()),
            session_expiry_s: d.session_expiry_interval_secs,
            reason_string: opt_text(d.reason_string)?,
            server_reference: opt_text(d.server_reference)?,
        }),
        v5::Packet::Auth(auth) => Packet::Auth(Auth {
            reason: Reason(auth.reason_code.into()),
            method: opt_text(auth.auth_method)?,
            data: auth.auth_data,
        }),
    })
}

fn connect_from(connect: v5::Connect) -> Result<Connect, CodecError> {
    if connect.auth_method.is_none() && connect.auth_data.is_some() {
        return Err(CodecError::Protocol("authentication data without a method (§3.1.2.11.10)"));
    }
    let will = match connect.last_will {
        Some(will) => Some(Box::new(Will {
            delay_s: will.will_delay_interval_sec.unwrap_or(0),
            message: Message {
                topic: topic(&will.topic)?,
                payload: will.message,
                qos: qos(will.qos),
                retain: will.retain,
                properties: checked(Properties {
                    payload_is_utf8: will.is_utf8_payload.unwrap_or(false),
                    message_expiry_s: will.message_expiry_interval.map(NonZeroU32::get),
                    content_type: opt_text(will.content_type)?,
                    response_topic: will.response_topic.map(|t| topic(&t)).transpose()?,
                    correlation_data: will.correlation_data,
                    user: user(will.user_properties)?,
                })?,
            },
        })),
        None => None,
    };
    Ok(Connect {
        version: Version::V5,
        clean_start: connect.clean_start,
        keep_alive_s: connect.keep_alive,
        client_id: text(connect.client_id)?,
        username: opt_text(connect.username)?,
        password: connect.password,
        will,
        session_expiry_s: connect.session_expiry_interval_secs,
        receive_maximum: connect.receive_max.map_or(u16::MAX, NonZeroU16::get),
        maximum_packet_size: connect.max_packet_size.map(NonZeroU32::get),
        topic_alias_maximum: connect.topic_alias_max,
        request_problem_information: connect.request_problem_info,
        request_response_information: connect.request_response_info,
        authentication_method: opt_text(connect.auth_method)?,
        authentication_data: connect.auth_data,
        user: user(connect.user_properties)?,
    })
}

fn conn_ack_from(ack: v5::ConnectAck) -> Result<ConnAck, CodecError> {
    Ok(ConnAck {
        session_present: ack.session_present,
        reason: Reason(ack.reason_code.into()),
        session_expiry_s: ack.session_expiry_interval_secs,
        receive_maximum: ack.receive_max.get(),
        maximum_qos: qos(ack.max_qos),
        retain_available: ack.retain_available,
        maximum_packet_size: ack.max_packet_size,
        assigned_client_id: opt_text(ack.assigned_client_id)?,
        topic_alias_maximum: ack.topic_alias_max,
        reason_string: opt_text(ack.reason_string)?,
        server_reference: opt_text(ack.server_reference)?,
        wildcards_available: ack.wildcard_subscription_available,
        subscription_ids_available: ack.subscription_identifiers_available,
        shared_available: ack.shared_subscription_available,
        server_keep_alive_s: ack.server_keepalive_sec,
        user: user(ack.user_properties)?,
    })
}

fn publish_from(p: rmqtt_codec::types::Publish) -> Result<Publish, CodecError> {
    let wire = p.properties.unwrap_or_default();
    let named = if p.topic.is_empty() { None } else { Some(topic(&p.topic)?) };
    if named.is_none() && wire.topic_alias.is_none() {
        return Err(CodecError::Protocol("a PUBLISH without topic and without alias (§3.3.2.1)"));
    }
    Ok(Publish {
        dup: p.dup,
        qos: qos(p.qos),
        retain: p.retain,
        packet_id: p.packet_id.map_or(0, NonZeroU16::get),
        topic: named,
        topic_alias: wire.topic_alias.map(NonZeroU16::get),
        payload: p.payload,
        properties: checked(Properties {
            payload_is_utf8: wire.is_utf8_payload,
            message_expiry_s: wire.message_expiry_interval.map(NonZeroU32::get),
            content_type: opt_text(wire.content_type)?,
            response_topic: wire.response_topic.map(|t| topic(&t)).transpose()?,
            correlation_data: wire.correlation_data,
            user: user(wire.user_properties)?,
        })?,
        subscription_ids: wire.subscription_ids.into_iter().map(NonZeroU32::get).collect(),
    })
}

/// What belongs to a message is sent on, and whoever gets it may be stricter than we need be.
fn checked(properties: Properties) -> Result<Option<Box<Properties>>, CodecError> {
    if properties == Properties::default() {
        return Ok(None);
    }
    let user = properties.user.iter().flat_map(|(name, value)| [name, value]);
    if properties.content_type.iter().chain(user).any(|text| unfit_character(text).is_some()) {
        return Err(CodecError::Malformed("a text with a control character or a non-character (§1.5.4)"));
    }
    Ok(Some(Box::new(properties)))
}

fn subscribe_from(subscribe: v5::Subscribe) -> Result<Subscribe, CodecError> {
    let filters = subscribe.topic_filters.into_iter().map(|(f, options)| {
        let options = SubscribeOptions {
            qos: qos(options.qos),
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            retain_handling: match options.retain_handling {
                v5::RetainHandling::AtSubscribe => RetainHandling::Send,
                v5::RetainHandling::AtSubscribeNew => RetainHandling::SendIfNew,
                v5::RetainHandling::NoAtSubscribe => RetainHandling::DoNotSend,
            },
        };
        let f = filter(&f)?;
        if options.no_local && f.starts_with("$share/") {
            return Err(CodecError::Protocol("no-local on a shared subscription [MQTT-3.8.3-4]"));
        }
        Ok((f, options))
    });
    Ok(Subscribe {
        packet_id: subscribe.packet_id.get(),
        subscription_id: subscribe.id.map(NonZeroU32::get),
        filters: filters.collect::<Result<_, CodecError>>()?,
        user: user(subscribe.user_properties)?,
    })
}

const NO_SUCH_REASON: CodecError = CodecError::Unencodable("this packet has no such reason code");

pub(super) fn to_wire(packet: &Packet) -> Result<v5::Packet, CodecError> {
    Ok(match packet {
        Packet::Connect(connect) => v5::Packet::Connect(Box::new(connect_to(connect)?)),
        Packet::ConnAck(ack) => v5::Packet::ConnectAck(Box::new(conn_ack_to(ack)?)),
        Packet::Subscribe(subscribe) => v5::Packet::Subscribe(v5::Subscribe {
            packet_id: packet_id(subscribe.packet_id)?,
            id: subscribe.subscription_id.and_then(NonZeroU32::new),
            user_properties: to_user(&subscribe.user),
            topic_filters: subscribe.filters.iter().map(|(f, o)| (f.as_str().into(), options_to(*o))).collect(),
        }),
        Packet::SubAck(ack) => v5::Packet::SubscribeAck(v5::SubscribeAck {
            packet_id: packet_id(ack.packet_id)?,
            properties: Vec::new(),
            reason_string: None,
            status: reasons_to(&ack.reasons)?,
        }),
        Packet::Unsubscribe(unsubscribe) => v5::Packet::Unsubscribe(v5::Unsubscribe {
            packet_id: packet_id(unsubscribe.packet_id)?,
            user_properties: to_user(&unsubscribe.user),
            topic_filters: unsubscribe.filters.iter().map(|f| f.as_str().into()).collect(),
        }),
        Packet::UnsubAck(ack) => v5::Packet::UnsubscribeAck(v5::UnsubscribeAck {
            packet_id: packet_id(ack.packet_id)?,
            properties: Vec::new(),
            reason_string: None,
            status: reasons_to(&ack.reasons)?,
        }),
        Packet::PingReq => v5::Packet::PingRequest,
        Packet::PingResp => v5::Packet::PingResponse,
        Packet::Disconnect(d) => v5::Packet::Disconnect(v5::Disconnect {
            reason_code: d.reason.0.try_into().map_err(|_| NO_SUCH_REASON)?,
            session_expiry_interval_secs: d.session_expiry_s,
            server_reference: d.server_reference.as_deref().map(Into::into),
            reason_string: d.reason_string.as_deref().map(Into::into),
            user_properties: Vec::new(),
        }),
        Packet::Auth(auth) => v5::Packet::Auth(v5::Auth {
            reason_code: auth.reason.0.try_into().map_err(|_| NO_SUCH_REASON)?,
            auth_method: auth.method.as_deref().map(Into::into),
            auth_data: auth.data.clone(),
            reason_string: None,
            user_properties: Vec::new(),
        }),
        Packet::Publish(_) | Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {
            return Err(CodecError::Unencodable("this packet is written by its own function"));
        }
    })
}

fn reasons_to<R: TryFrom<u8>>(reasons: &[Reason]) -> Result<Vec<R>, CodecError> {
    reasons.iter().map(|reason| reason.0.try_into().map_err(|_| NO_SUCH_REASON)).collect()
}

fn connect_to(connect: &Connect) -> Result<v5::Connect, CodecError> {
    let last_will = connect.will.as_ref().map(|will| {
        let none = Properties::default();
        let p = will.message.properties.as_deref().unwrap_or(&none);
        v5::LastWill {
            qos: to_qos(will.message.qos),
            retain: will.message.retain,
            topic: will.message.topic.as_str().into(),
            message: will.message.payload.clone(),
            will_delay_interval_sec: (will.delay_s > 0).then_some(will.delay_s),
            correlation_data: p.correlation_data.clone(),
            message_expiry_interval: p.message_expiry_s.and_then(NonZeroU32::new),
            content_type: p.content_type.as_deref().map(Into::into),
            user_properties: to_user(&p.user),
            is_utf8_payload: p.payload_is_utf8.then_some(true),
            response_topic: p.response_topic.as_deref().map(Into::into),
        }
    });
    Ok(v5::Connect {
        clean_start: connect.clean_start,
        keep_alive: connect.keep_alive_s,
        session_expiry_interval_secs: connect.session_expiry_s,
        auth_method: connect.authentication_method.as_deref().map(Into::into),
        auth_data: connect.authentication_data.clone(),
        request_problem_info: connect.request_problem_information,
        request_response_info: connect.request_response_information,
        receive_max: receive_maximum(connect.receive_maximum)?,
        topic_alias_max: connect.topic_alias_maximum,
        user_properties: to_user(&connect.user),
        max_packet_size: connect.maximum_packet_size.and_then(NonZeroU32::new),
        last_will,
        client_id: connect.client_id.as_str().into(),
        username: connect.username.as_deref().map(Into::into),
        password: connect.password.clone(),
        cert: None,
    })
}

/// `None` stands for the default of 65,535 and saves three bytes.
fn receive_maximum(value: u16) -> Result<Option<NonZeroU16>, CodecError> {
    let value = NonZeroU16::new(value).ok_or(CodecError::Unencodable("Receive Maximum 0 is not allowed"))?;
    Ok((value != NonZeroU16::MAX).then_some(value))
}

fn conn_ack_to(ack: &ConnAck) -> Result<v5::ConnectAck, CodecError> {
    Ok(v5::ConnectAck {
        session_present: ack.session_present,
        reason_code: ack.reason.0.try_into().map_err(|_| CodecError::Unencodable("CONNACK has no such reason code"))?,
        session_expiry_interval_secs: ack.session_expiry_s,
        receive_max: receive_maximum(ack.receive_maximum)?.unwrap_or(NonZeroU16::MAX),
        max_qos: to_qos(ack.maximum_qos),
        max_packet_size: ack.maximum_packet_size,
        assigned_client_id: ack.assigned_client_id.as_deref().map(Into::into),
        topic_alias_max: ack.topic_alias_maximum,
        retain_available: ack.retain_available,
        wildcard_subscription_available: ack.wildcards_available,
        subscription_identifiers_available: ack.subscription_ids_available,
        shared_subscription_available: ack.shared_available,
        server_keepalive_sec: ack.server_keep_alive_s,
        response_info: None,
        server_reference: ack.server_reference.as_deref().map(Into::into),
        auth_method: None,
        auth_data: None,
        reason_string: ack.reason_string.as_deref().map(Into::into),
        user_properties: to_user(&ack.user),
    })
}

fn options_to(options: SubscribeOptions) -> v5::SubscriptionOptions {
    v5::SubscriptionOptions {
        qos: to_qos(options.qos),
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        retain_handling: match options.retain_handling {
            RetainHandling::Send => v5::RetainHandling::AtSubscribe,
            RetainHandling::SendIfNew => v5::RetainHandling::AtSubscribeNew,
            RetainHandling::DoNotSend => v5::RetainHandling::NoAtSubscribe,
        },
    }
}
