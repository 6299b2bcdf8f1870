//! What a cloud broker's reason codes mean for us: whether to go on, to come back later or to give a message up; and what the
//! person who reads it should try. Pure.

use crate::mqtt::Reason;

/// What a PUBACK or PUBREC settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The cloud has it.
    Taken,
    /// Not now: disconnect, and send it again after a while. Its turn does not pass to the next message.
    Later,
    /// Perhaps never: send it again a few times, then put it aside.
    Doubtful,
    /// Never: put it aside. Sending it again would block all that wait behind it.
    Never,
}

/// What the reason code of a PUBACK or PUBREC means (MQTT 5, §3.4.2.1, §3.5.2.1). 3.1.1 knows only success.
pub(super) fn of_puback(reason: Reason) -> Verdict {
    match reason {
        reason if !reason.is_failure() => Verdict::Taken,
        // The cloud's limits, and they pass.
        Reason::QUOTA_EXCEEDED | Reason::SERVER_BUSY | Reason::MESSAGE_RATE_TOO_HIGH => Verdict::Later,
        // About this very message, and it does not change.
        Reason::NOT_AUTHORIZED
        | Reason::TOPIC_NAME_INVALID
        | Reason::PAYLOAD_FORMAT_INVALID
        | Reason::PACKET_TOO_LARGE
        | Reason::RETAIN_NOT_SUPPORTED
        | Reason::QOS_NOT_SUPPORTED => Verdict::Never,
        // "Unspecified", "implementation specific", or nothing that §3.4 allows here.
        _ => Verdict::Doubtful,
    }
}

/// Whether a DISCONNECT with this reason (§3.14.2.1) may be about a message that was sent.
pub(super) fn is_about_a_message(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UNSPECIFIED
            | Reason::MALFORMED_PACKET
            | Reason::PROTOCOL_ERROR
            | Reason::IMPLEMENTATION_SPECIFIC
            | Reason::NOT_AUTHORIZED
            | Reason::TOPIC_NAME_INVALID
            | Reason::TOPIC_ALIAS_INVALID
            | Reason::PACKET_TOO_LARGE
            | Reason::PAYLOAD_FORMAT_INVALID
            | Reason::RETAIN_NOT_SUPPORTED
            | Reason::QOS_NOT_SUPPORTED
    )
}

/// What to try when a CONNACK or DISCONNECT gives this reason.
pub(super) fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::BAD_USER_NAME_OR_PASSWORD => "check username and password_file",
        Reason::NOT_AUTHORIZED => "check username, password_file and client_id, and what the cloud allows this client",
        Reason::CLIENT_ID_NOT_VALID => "check client_id: the cloud does not accept this one",
        Reason::UNSUPPORTED_PROTOCOL_VERSION => "set mqtt_version: \"3.1.1\", or \"5\" if it was that",
        Reason::BANNED => "the cloud has banned this client: ask whoever runs it",
        Reason::BAD_AUTHENTICATION_METHOD => "the cloud asks for an authentication that fieldway does not have",
        Reason::SESSION_TAKEN_OVER => "another client uses the same client_id: give each gateway its own",
        Reason::SERVER_MOVED | Reason::USE_ANOTHER_SERVER => "the cloud asks to use another server: check url",
        Reason::KEEP_ALIVE_TIMEOUT => "nothing reached the cloud in time: look at the network",
        Reason::PACKET_TOO_LARGE => "the cloud takes smaller packets only",
        Reason::QUOTA_EXCEEDED | Reason::CONNECTION_RATE_EXCEEDED | Reason::MESSAGE_RATE_TOO_HIGH => {
            "a limit of the cloud is reached: it is tried again more slowly"
        }
        Reason::RETAIN_NOT_SUPPORTED => "set retain: never in the forward rules",
        Reason::QOS_NOT_SUPPORTED => "the cloud takes QoS 0 only, which can lose messages: use another broker",
        _ => "it is tried again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successes_of_every_kind_settle_a_message() {
        assert_eq!(of_puback(Reason::SUCCESS), Verdict::Taken);
        assert_eq!(of_puback(Reason::NO_MATCHING_SUBSCRIBERS), Verdict::Taken);
    }

    #[test]
    fn limits_that_pass_are_told_from_messages_that_never_will() {
        assert_eq!(of_puback(Reason::QUOTA_EXCEEDED), Verdict::Later);
        for never in [Reason::NOT_AUTHORIZED, Reason::TOPIC_NAME_INVALID, Reason::PAYLOAD_FORMAT_INVALID] {
            assert_eq!(of_puback(never), Verdict::Never);
        }
        assert_eq!(of_puback(Reason::UNSPECIFIED), Verdict::Doubtful);
        assert_eq!(of_puback(Reason(0xEE)), Verdict::Doubtful);
    }
}
