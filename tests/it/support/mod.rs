//! What the tests share: the gateway as a process, its peers, and waiting for a condition.

pub mod certificates;
pub mod chance;
pub mod cloud;
pub mod counting_device;
pub mod cutting_proxy;
pub mod gateway;
pub mod kept;
pub mod mosquitto;
pub mod mqtt;
pub mod peers;
pub mod small_disk;
pub mod wait;
pub mod wire;
pub mod writable_device;
