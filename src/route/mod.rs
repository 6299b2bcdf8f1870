//! What leaves, where to and in which form: topics, payloads, forward rules. Pure, and free of anything but [`crate::model`].

mod forward;
mod gateway_topics;
mod health;
mod payload;
mod readings;
mod report;
mod template;
mod verdict;

pub use forward::{ForwardRule, Forwarder, RetainRule};
pub use gateway_topics::GatewayTopics;
pub use health::{HealthReport, health};
pub use payload::point as point_payload;
pub use readings::ReadingRouter;
pub use template::{Template, TemplateError};
pub use verdict::Verdict;
