//! What is said before the demo begins: where everything is, and how to look at it.

use std::net::SocketAddr;
use std::path::Path;

/// Where everything is.
#[derive(Debug)]
pub struct Places<'a> {
    /// The Modbus TCP plant.
    pub plant: SocketAddr,
    /// The serial line's device file.
    pub serial: &'a str,
    /// The gateway's broker.
    pub local: SocketAddr,
    /// Its web pages.
    pub web: SocketAddr,
    /// The stand-in for the cloud.
    pub cloud: SocketAddr,
    /// The gateway's configuration.
    pub config: &'a Path,
}

/// The opening, in at most 80 columns as long as the paths are short.
pub fn playbill(places: &Places<'_>) -> String {
    let Places { plant, serial, local, web, cloud, config } = places;
    let config = config.display();
    let subscribe = |at: &SocketAddr, filter| format!("mosquitto_sub -h {} -p {} -t '{filter}' -v", at.ip(), at.port());
    let (here, there) = (subscribe(local, "fieldway/demo/#"), subscribe(cloud, "sites/demo/#"));
    format!(
        "\
Fieldway demo: a plant, a gateway and a cloud, all on this machine.

  plant    Modbus TCP  {plant:<21} boiler, air_handler
           serial      {serial:<21} meter_1, meter_2
  gateway  MQTT        {local:<21} fieldway/demo/...
           web         http://{web}/
           read from   {config}
  cloud    MQTT        {cloud:<21} sites/demo/...

Look at both sides from other terminals:

  {here}
  {there}

Ctrl-C stops everything and leaves nothing behind.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_everything_is_in_80_columns() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let places = Places {
            plant: address(65_535),
            serial: "/dev/pts/1234",
            local: address(65_534),
            web: address(65_533),
            cloud: address(65_532),
            config: Path::new("/tmp/fieldway-demo-AbCdEf/gateway.yaml"),
        };
        let text = playbill(&places);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line:?}");
        }
        assert!(text.contains("mosquitto_sub -h 127.0.0.1 -p 65532 -t 'sites/demo/#' -v"), "{text}");
    }
}
