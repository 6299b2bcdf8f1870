//! The codec crate's packets of MQTT 3.1.1, and ours.

use rmqtt_codec::types::Protocol;
use rmqtt_codec::v3;

use super::{CodecError, filter, opt_text, packet_id, qos, text, to_qos, topic};
use crate::model::Message;
use crate::mqtt::{
    Ack, ConnAck, Connect, Disconnect, Packet, Publish, Reason, SubAck, Subscribe, SubscribeOptions, Unsubscribe,
    Version, Will,
};

pub(super) fn from_wire(packet: v3::Packet) -> Result<Packet, CodecError> {
    Ok(match packet {
        v3::Packet::Connect(connect) => Packet::Connect(Box::new(connect_from(*connect)?)),
        v3::Packet::ConnectAck(ack) => Packet::ConnAck(Box::new(ConnAck {
            session_present: ack.session_present,
            ..ConnAck::new(reason_of(ack.return_code))
        })),
        v3::Packet::Publish(p) => Packet::Publish(Publish {
            dup: p.dup,
            qos: qos(p.qos),
            retain: p.retain,
            packet_id: p.packet_id.map_or(0, |id| id.get()),
            topic: Some(topic(&p.topic)?),
            topic_alias: None,
            payload: p.payload,
            properties: None,
            subscription_ids: Vec::new(),
        }),
        v3::Packet::PublishAck { packet_id } => Packet::PubAck(Ack::success(packet_id.get())),
        v3::Packet::PublishReceived { packet_id } => Packet::PubRec(Ack::success(packet_id.get())),
        v3::Packet::PublishRelease { packet_id } => Packet::PubRel(Ack::success(packet_id.get())),
        v3::Packet::PublishComplete { packet_id } => Packet::PubComp(Ack::success(packet_id.get())),
        v3::Packet::Subscribe { packet_id, topic_filters } => Packet::Subscribe(Subscribe {
            packet_id: packet_id.get(),
            subscription_id: None,
            filters: topic_filters
                .into_iter()
                .map(|(f, q)| Ok((filter(&f)?, SubscribeOptions::new(qos(q)))))
                .collect::<Result<_, CodecError>>()?,
            user: Vec::new(),
        }),
        v3::Packet::SubscribeAck { packet_id, status } => Packet::SubAck(SubAck {
            packet_id: packet_id.get(),
            reasons: status
                .into_iter()
                .map(|code| match code {
                    v3::SubscribeReturnCode::Success(q) => Reason(q.value()),
                    v3::SubscribeReturnCode::Failure => Reason::UNSPECIFIED,
                })
                .collect(),
        }),
        v3::Packet::Unsubscribe { packet_id, topic_filters } => Packet::Unsubscribe(Unsubscribe {
            packet_id: packet_id.get(),
            filters: topic_filters.iter().map(|f| filter(f)).collect::<Result<_, _>>()?,
            user: Vec::new(),
        }),
        v3::Packet::UnsubscribeAck { packet_id } => {
            Packet::UnsubAck(SubAck { packet_id: packet_id.get(), reasons: Vec::new() })
        }
        v3::Packet::PingRequest => Packet::PingReq,
        v3::Packet::PingResponse => Packet::PingResp,
        v3::Packet::Disconnect => Packet::Disconnect(Disconnect::new(Reason::SUCCESS)),
    })
}

fn connect_from(connect: v3::Connect) -> Result<Connect, CodecError> {
    let will = match connect.last_will {
        Some(will) => Some(Box::new(Will {
            message: Message::new(topic(&will.topic)?, will.message, qos(will.qos), will.retain),
            delay_s: 0,
        })),
        None => None,
    };
    Ok(Connect {
        clean_start: connect.clean_session,
        keep_alive_s: connect.keep_alive,
        username: opt_text(connect.username)?,
        password: connect.password,
        will,
        ..Connect::new(Version::V311, text(connect.client_id)?)
    })
}

pub(super) fn to_wire(packet: &Packet) -> Result<v3::Packet, CodecError> {
    Ok(match packet {
        Packet::Connect(connect) => v3::Packet::Connect(Box::new(v3::Connect {
            protocol: Protocol(rmqtt_codec::types::MQTT_LEVEL_311),
            clean_session: connect.clean_start,
            keep_alive: connect.keep_alive_s,
            last_will: connect.will.as_ref().map(|will| v3::LastWill {
                qos: to_qos(will.message.qos),
                retain: will.message.retain,
                topic: will.message.topic.as_str().into(),
                message: will.message.payload.clone(),
            }),
            client_id: connect.client_id.as_str().into(),
            username: connect.username.as_deref().map(Into::into),
            password: connect.password.clone(),
            cert: None,
        })),
        Packet::ConnAck(ack) => v3::Packet::ConnectAck(v3::ConnectAck {
            return_code: return_code(ack.reason),
            session_present: ack.session_present,
        }),
        Packet::Subscribe(subscribe) => v3::Packet::Subscribe {
            packet_id: packet_id(subscribe.packet_id)?,
            topic_filters: subscribe.filters.iter().map(|(f, o)| (f.as_str().into(), to_qos(o.qos))).collect(),
        },
        Packet::SubAck(ack) => v3::Packet::SubscribeAck {
            packet_id: packet_id(ack.packet_id)?,
            status: ack
                .reasons
                .iter()
                .map(|reason| match rmqtt_codec::types::QoS::try_from(reason.0) {
                    Ok(granted) => v3::SubscribeReturnCode::Success(granted),
                    Err(_) => v3::SubscribeReturnCode::Failure,
                })
                .collect(),
        },
        Packet::Unsubscribe(unsubscribe) => v3::Packet::Unsubscribe {
            packet_id: packet_id(unsubscribe.packet_id)?,
            topic_filters: unsubscribe.filters.iter().map(|f| f.as_str().into()).collect(),
        },
        Packet::UnsubAck(ack) => v3::Packet::UnsubscribeAck { packet_id: packet_id(ack.packet_id)? },
        Packet::PingReq => v3::Packet::PingRequest,
        Packet::PingResp => v3::Packet::PingResponse,
        Packet::Disconnect(_) => v3::Packet::Disconnect,
        Packet::Auth(_) => return Err(CodecError::Unencodable("MQTT 3.1.1 has no AUTH")),
        Packet::Publish(_) | Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {
            return Err(CodecError::Unencodable("this packet is written by its own function"));
        }
    })
}

/// 3.1.1 §3.2.2.3 and the codes of MQTT 5 that mean the same.
fn reason_of(code: v3::ConnectAckReason) -> Reason {
    match code {
        v3::ConnectAckReason::ConnectionAccepted => Reason::SUCCESS,
        v3::ConnectAckReason::UnacceptableProtocolVersion => Reason::UNSUPPORTED_PROTOCOL_VERSION,
        v3::ConnectAckReason::IdentifierRejected => Reason::CLIENT_ID_NOT_VALID,
        v3::ConnectAckReason::ServiceUnavailable => Reason::SERVER_UNAVAILABLE,
        v3::ConnectAckReason::BadUserNameOrPassword => Reason::BAD_USER_NAME_OR_PASSWORD,
        v3::ConnectAckReason::NotAuthorized => Reason::NOT_AUTHORIZED,
        v3::ConnectAckReason::Reserved => Reason::UNSPECIFIED,
    }
}

fn return_code(reason: Reason) -> v3::ConnectAckReason {
    match reason {
        Reason::SUCCESS => v3::ConnectAckReason::ConnectionAccepted,
        Reason::UNSUPPORTED_PROTOCOL_VERSION => v3::ConnectAckReason::UnacceptableProtocolVersion,
        Reason::CLIENT_ID_NOT_VALID => v3::ConnectAckReason::IdentifierRejected,
        Reason::BAD_USER_NAME_OR_PASSWORD => v3::ConnectAckReason::BadUserNameOrPassword,
        Reason::NOT_AUTHORIZED | Reason::BANNED => v3::ConnectAckReason::NotAuthorized,
        _ => v3::ConnectAckReason::ServiceUnavailable,
    }
}
