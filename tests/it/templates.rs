//! The templates that are part of the program: all there, all usable, all of one vocabulary, and what they make of registers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fieldway::clock::Clock;
use fieldway::config::{self, Config, Look, Outside, templates};
use fieldway::driver;
use fieldway::driver::modbus::{Cells, decode};
use fieldway::model::Sample;

const SERIAL: &str = "{ serial: /dev/ttyUSB0, protocol: modbus-rtu }";
const TCP: &str = "{ tcp: 192.0.2.1, protocol: modbus-tcp }";

fn with_device(bus: &str, template: &str) -> Config {
    let yaml = format!(
        "gateway: {{ id: a }}\nbuses: {{ line: {bus} }}\ndevices: {{ d: {{ bus: line, unit_id: 1, template: {template} }} }}\n"
    );
    config::parse(yaml.as_bytes(), Path::new("gateway.yaml"), &Outside::nothing())
        .unwrap_or_else(|report| panic!("{template}:\n{}", report.render(Look::Plain)))
}

/// What `about:` says for `key`.
fn about<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let start = format!("  {key}: \"");
    let mut lines = text.lines().skip_while(|line| *line != "about:").skip(1).take_while(|line| line.starts_with("  "));
    lines.find_map(|line| line.strip_prefix(start.as_str())?.strip_suffix('"'))
}

#[test]
fn the_program_has_every_file_of_the_folder_and_no_other() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/devices");
    let mut files = Vec::new();
    for maker in fs::read_dir(&folder).unwrap() {
        let maker = maker.unwrap();
        for model in fs::read_dir(maker.path()).unwrap() {
            let model = model.unwrap().file_name().into_string().unwrap();
            let model = model.strip_suffix(".yaml").unwrap_or_else(|| panic!("{model} is no template"));
            files.push(format!("{}/{model}", maker.file_name().to_str().unwrap()));
        }
    }
    files.sort();
    assert_eq!(templates::names().collect::<Vec<_>>(), files);
    assert!(files.len() >= 25, "only {}", files.len());
}

#[test]
fn each_template_makes_a_device_with_points_on_a_serial_line_and_over_tcp() {
    for name in templates::names() {
        for bus in [SERIAL, TCP] {
            assert!(!with_device(bus, name).devices[0].points.is_empty(), "{name}");
        }
    }
}

#[test]
fn each_template_names_the_document_that_its_registers_were_published_in() {
    for name in templates::names() {
        let text = templates::text(name).unwrap();
        let source = about(text, "source").unwrap_or_default();
        assert!(source.len() >= 30, "{name}: {source:?} is no document");
        assert!(about(text, "maker").is_some() && about(text, "model").is_some(), "{name}");
    }
}

#[test]
fn a_point_of_one_name_has_the_same_unit_in_every_template() {
    let mut units = BTreeMap::new();
    for name in templates::names() {
        for point in &with_device(TCP, name).devices[0].points {
            let (first, unit) = units.entry(point.name.to_string()).or_insert((name, point.unit.clone()));
            assert_eq!(*unit, point.unit, "`{}` in {first} and in {name}", point.name);
        }
    }
}

#[test]
fn the_documentation_lists_each_template_with_its_source() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/devices.md")).unwrap();
    for name in templates::names() {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let source = about(templates::text(name).unwrap(), "source").unwrap();
        assert!(row.is_some_and(|row| row.contains(source)), "docs/devices.md has no row for {name} with {source:?}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.contains('/')).count();
    assert_eq!(rows, templates::names().count(), "a row without a template");
}

/// What a device holds; addresses that the dump does not name hold 0.
#[derive(Default)]
struct Dump(BTreeMap<(String, u16), u16>);

impl Dump {
    fn add(&mut self, table: &str, address: u16, cells: &str) {
        for (offset, cell) in (0..).zip(cells.split_whitespace()) {
            let cell = match cell {
                "on" => 1,
                "off" => 0,
                hex => u16::from_str_radix(hex, 16).unwrap(),
            };
            self.0.insert((table.to_owned(), address + offset), cell);
        }
    }

    fn cells(&self, table: &str, address: u16, count: u16) -> Vec<u16> {
        (0..count).map(|offset| self.0.get(&(table.to_owned(), address + offset)).copied().unwrap_or(0)).collect()
    }
}

/// Every point of a device, as planned and decoded from what it holds.
fn samples(config: &Config, dump: &Dump) -> BTreeMap<String, Sample> {
    let device = &config.devices[0];
    let driver = driver::for_bus(&config.buses[0], Clock::start()).unwrap();
    let all: Vec<usize> = (0..device.points.len()).collect();
    let mut samples = BTreeMap::new();
    for request in driver.plan(device, &all) {
        let cells = dump.cells(request.table.as_str(), request.address, request.count);
        let bits: Vec<bool> = cells.iter().map(|cell| *cell != 0).collect();
        let cells = if request.table.is_bits() { Cells::Bits(&bits) } else { Cells::Registers(&cells) };
        for point in request.points.iter().map(|point| &device.points[*point]) {
            samples.insert(point.name.to_string(), decode(point, cells, request.address));
        }
    }
    samples
}

fn is(sample: &Sample, expected: &str) -> bool {
    match sample {
        Sample::Good(value) => {
            let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            let (value, expected) = (json(&value.to_string()), json(expected));
            let number = |json: &Option<serde_json::Value>| json.as_ref().and_then(serde_json::Value::as_f64);
            expected.is_some() && (value == expected || number(&value).is_some() && number(&value) == number(&expected))
        }
        Sample::Bad(fault) => expected == format!("bad {}", fault.as_str()),
    }
}

#[test]
fn registers_of_real_devices_become_the_values_that_they_stand_for() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/devices");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let (mut template, mut dump, mut expected) = ("", Dump::default(), Vec::new());
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("template ") {
                template = name;
            } else if let Some((point, value)) = line.split_once(" = ") {
                expected.push((point, value));
            } else {
                let (place, cells) = line.split_once(": ").unwrap();
                let (table, address) = place.split_once(' ').unwrap();
                dump.add(table, address.parse().unwrap(), cells);
            }
        }
        let samples = samples(&with_device(TCP, template), &dump);
        for (point, value) in expected {
            let sample = samples.get(point).unwrap_or_else(|| panic!("{template} has no point `{point}`"));
            assert!(is(sample, value), "{}: `{point}` is {sample:?}, not {value}", path.display());
        }
        count += 1;
    }
    assert!(count >= 8, "only {count} dumps");
}

#[test]
fn a_template_beside_the_configuration_comes_before_one_of_the_same_name_in_the_program() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("devices/eastron")).unwrap();
    let own = "about: { maker: we, model: ours, source: our own list }\npoints: { ours: { input: 7 } }\n";
    fs::write(folder.path().join("devices/eastron/sdm120.yaml"), own).unwrap();
    let file = folder.path().join("gateway.yaml");
    let yaml = format!(
        "gateway: {{ id: a }}\nbuses: {{ line: {TCP} }}\ndevices: {{ d: {{ bus: line, template: eastron/sdm120 }} }}\n"
    );
    fs::write(&file, yaml).unwrap();
    let config = config::load(&file, &|_| None).unwrap_or_else(|report| panic!("{}", report.render(Look::Plain)));
    let points: Vec<&str> = config.devices[0].points.iter().map(|point| point.name.as_str()).collect();
    assert_eq!(points, ["ours"]);
}
