//! What the package hands out beside the program: manual pages and completions, which are written from the command line and the documentation
//! and compared here; the unit, the rule for udev, the scripts and the Dockerfile, each read by the program that will read it.
//!
//! `FIELDWAY_BLESS=1 cargo test --test it handouts` writes the pages and completions anew.

mod markdown;
mod roff;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use clap_complete::Shell;
use fieldway::cli::Cli;
use fieldway::config::every_key;

const FIELDWAY: &str = env!("CARGO_BIN_EXE_fieldway");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every file that is written from something else, by its path, as it has to be.
fn handouts() -> Vec<(&'static str, String)> {
    let completions = |shell| {
        let mut out = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "fieldway", &mut out);
        String::from_utf8(out).unwrap()
    };
    vec![
        ("cross/completions/fieldway.bash", completions(Shell::Bash)),
        ("cross/completions/_fieldway", completions(Shell::Zsh)),
        ("cross/completions/fieldway.fish", completions(Shell::Fish)),
        ("docs/man/fieldway.1", roff::command_page(Cli::command(), &read("docs/man/fieldway.1.in"))),
        ("docs/man/gateway.yaml.5", roff::configuration_page(&read("docs/configuration.md"))),
    ]
}

/// Runs a program that a fresh machine may lack; what it said when it refused.
fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(args)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}. ./tests/run installs it"));
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

fn assert_takes(program: &str, args: &[&str], file: &str) {
    let path = root().join(file);
    let all: Vec<&str> = args.iter().copied().chain([path.to_str().unwrap()]).collect();
    run(program, &all).unwrap_or_else(|said| panic!("{program} does not take {file}:\n{said}"));
}

#[test]
fn completions_and_manual_pages_are_those_of_this_program() {
    let bless = std::env::var_os("FIELDWAY_BLESS").is_some();
    for (file, expected) in handouts() {
        let path = root().join(file);
        if bless {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &expected).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(there == expected, "{file} is out of date: FIELDWAY_BLESS=1 cargo test --test it handouts writes it");
    }
}

#[test]
fn each_shell_takes_its_completions() {
    assert_takes("bash", &["-n"], "cross/completions/fieldway.bash");
    assert_takes("zsh", &["-n"], "cross/completions/_fieldway");
    assert_takes("fish", &["--no-execute"], "cross/completions/fieldway.fish");
    // Beyond its grammar: bash completes a command with it.
    let script = format!(
        "source {} && COMP_WORDS=(fieldway ch) COMP_CWORD=1 && _fieldway fieldway ch fieldway && [ \"${{COMPREPLY[*]}}\" = check ]",
        root().join("cross/completions/fieldway.bash").display()
    );
    run("bash", &["-c", &script])
        .unwrap_or_else(|said| panic!("bash completes `fieldway ch` with something else: {said}"));
}

#[test]
fn manual_pages_are_clean_and_have_every_command_and_key() {
    for page in ["docs/man/fieldway.1", "docs/man/gateway.yaml.5"] {
        assert_takes("mandoc", &["-T", "lint", "-W", "warning"], page);
    }
    let commands = read("docs/man/fieldway.1");
    for command in Cli::command().get_subcommands().filter(|command| command.get_name() != "help") {
        let heading = format!(".SS fieldway {}", command.get_name());
        assert!(commands.contains(&roff::escape(&heading)), "the page lacks {heading}");
    }
    let configuration = read("docs/man/gateway.yaml.5");
    for key in every_key() {
        assert!(configuration.contains(&roff::title(&key.path)), "the page lacks {}", key.path);
    }
}

/// The mapping that a heading of docs/configuration.md is about.
fn section(heading: &str) -> Option<&'static str> {
    Some(match heading {
        "gateway" => "gateway.",
        "broker" => "broker.",
        "listeners of the broker" => "broker.listeners[].",
        "users of the broker" => "broker.users[].",
        "limits of the broker" => "broker.limits.",
        "web" => "web.",
        "buses" => "buses.NAME.",
        "devices" => "devices.NAME.",
        "points of a device" => "devices.NAME.points.NAME.",
        "write of a point" => "devices.NAME.points.NAME.write.",
        "uplinks" => "uplinks.NAME.",
        "queue of an uplink" => "uplinks.NAME.queue.",
        "forward of an uplink" => "uplinks.NAME.forward[].",
        _ => return None,
    })
}

#[test]
fn the_reference_has_the_keys_and_defaults_of_the_manual() {
    let page = read("docs/configuration.md");
    let all = every_key();
    let mut place = None;
    let mut in_keys = false;
    let mut compared = 0;
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("##") {
            place = section(&heading.trim_start_matches('#').trim().replace('`', ""));
        }
        // Other tables are of types.
        in_keys = line.starts_with("| key |") || in_keys && line.starts_with('|');
        let line = line.replace(" | |", " |  |");
        let cells: Vec<&str> = line.split(" | ").collect();
        let (Some(place), true) = (place, in_keys && line.starts_with("| `")) else { continue };
        assert!(cells.len() >= 3, "{line}");
        let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(String::from).collect::<Vec<_>>();
        let (names, told) = (code(cells[0]), code(cells[1]));
        for (at, name) in names.iter().enumerate() {
            let path = format!("{place}{name}");
            let key = all.iter().find(|key| key.path == path).unwrap_or_else(|| panic!("there is no {path}"));
            let each_has_its_own = names.len() > 1 && told.len() == names.len();
            let default = if each_has_its_own { told[at].clone() } else { cells[1].trim().replace('`', "") };
            let default = if default == "see below" { String::new() } else { default };
            assert_eq!(default, key.default, "{path}, on the page and in the program");
            compared += 1;
        }
    }
    assert!(compared > 120, "only {compared} defaults were compared");
    for key in &all {
        let name = key.path.rsplit('.').next().unwrap();
        let as_written = [format!("`{name}`"), format!("`{name}: "), format!(" {name}: ")];
        assert!(as_written.iter().any(|way| page.contains(way)), "the page lacks {}", key.path);
    }
}

#[test]
fn the_unit_is_understood_and_shut_in() {
    let folder = tempfile::tempdir().unwrap();
    let unit = read("systemd/fieldway.service");
    for needed in [
        "Type=notify\n",
        "WatchdogSec=30\n",
        "Restart=always\n",
        "ExecStartPre=-/usr/bin/fieldway check ",
        "ExecReload=/bin/kill -HUP $MAINPID\n",
        "DeviceAllow=char-ttyUSB rw\n",
        // Else that line is void until the first adapter is plugged in, and the service started again.
        "Wants=modprobe@usbserial.service modprobe@cdc_acm.service\n",
        "SupplementaryGroups=dialout\n",
        "StateDirectory=fieldway\n",
    ] {
        assert!(unit.contains(needed), "the unit lacks {needed}");
    }
    // The unit names the installed program, which this machine does not have to have.
    let copy = folder.path().join("fieldway.service");
    fs::write(&copy, unit.replace("/usr/bin/fieldway", FIELDWAY)).unwrap();
    let copy = copy.to_str().unwrap();
    run("systemd-analyze", &["verify", "--man=no", copy]).unwrap_or_else(|said| panic!("{said}"));
    run("systemd-analyze", &["security", "--offline=true", "--threshold=15", "--no-pager", copy])
        .unwrap_or_else(|said| panic!("exposed more than 1.5:\n{said}"));
}

#[test]
fn commands_that_units_scripts_and_images_run_exist() {
    let mut count = 0;
    for file in ["systemd/fieldway.service", "Dockerfile", "cross/test-arm64", "tests/package/run"] {
        // A list of words, as Dockerfiles have it, is a command, too.
        let text = read(file).replace("\", \"", " ");
        for after in text.split("/usr/bin/fieldway ").skip(1) {
            let command = after.split(|c: char| !c.is_ascii_lowercase()).next().unwrap();
            if !command.is_empty() {
                count += 1;
                run(FIELDWAY, &[command, "--help"]).unwrap_or_else(|said| panic!("{file}: fieldway {command}: {said}"));
            }
        }
    }
    assert!(count >= 3, "only {count} were found");
}

#[test]
fn rules_for_udev_are_keys_operators_and_values() {
    let rule = regex::Regex::new(r#"^([A-Z]+(\{[a-z_/]+\})?(==|!=|=|\+=|:=)"[^"]*"(, |$))+$"#).unwrap();
    let text = read("systemd/60-fieldway.rules");
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(!lines.is_empty());
    for line in lines {
        assert!(rule.is_match(line), "{line}");
    }
}

#[test]
fn every_script_is_in_its_shells_grammar() {
    for script in ["cross/debian/postinst", "cross/debian/prerm", "cross/debian/postrm"] {
        assert_takes("sh", &["-n"], script);
    }
    for script in ["tests/run", "tests/package/run", "cross/build-deb", "cross/test-arm64"] {
        assert_takes("bash", &["-n"], script);
        assert_takes("shellcheck", &[], script);
    }
}

#[test]
fn scripts_of_python_compile() {
    let source = root().join("cross/order-code");
    let compile = "import ast, sys; ast.parse(open(sys.argv[1]).read())";
    run("python3", &["-c", compile, source.to_str().unwrap()]).unwrap_or_else(|said| panic!("{said}"));
}

/// This build is another one than a release, with most of the same functions: enough to tell an order that has been forgotten.
#[test]
fn the_linkers_order_names_functions_that_exist() {
    let output = Command::new("nm").args(["--defined-only", FIELDWAY]).output().expect("it comes with the linker");
    assert!(output.status.success(), "nm: {}", String::from_utf8_lossy(&output.stderr));
    let symbols = String::from_utf8(output.stdout).unwrap();
    let functions: Vec<&str> = symbols.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();

    let order = read("cross/order.ld");
    // Functions of ours, and not those of others that are made for a type of ours.
    let ours = regex::Regex::new(r"^    \*\(\.text\*\.(_R(?:NC)*Nv[A-Za-z]*C\*8fieldway[^ ]*)\)$").unwrap();
    let patterns: Vec<&str> = order.lines().filter_map(|line| Some(ours.captures(line)?.get(1)?.as_str())).collect();
    assert!(patterns.len() > 100, "only {} functions of ours in the order", patterns.len());
    let exists = |pattern: &str| {
        let parts: Vec<String> = pattern.split('*').map(regex::escape).collect();
        let name = regex::Regex::new(&format!("^{}$", parts.join(".*"))).unwrap();
        functions.iter().any(|function| name.is_match(function))
    };
    let gone: Vec<&str> = patterns.iter().copied().filter(|pattern| !exists(pattern)).collect();
    assert!(
        gone.len() * 4 < patterns.len(),
        "{} of {} functions in cross/order.ld are gone, and idle memory grows with each. Try: cross/order-code. Gone are, for instance, {:#?}",
        gone.len(),
        patterns.len(),
        &gone[..gone.len().min(5)]
    );
}

/// The words of a Dockerfile's instructions, continued lines joined.
fn instructions(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    joined
        .lines()
        .map(|line| line.split_whitespace().map(String::from).collect())
        .filter(|words: &Vec<String>| !words.is_empty())
        .collect()
}

#[test]
fn the_dockerfile_is_well_formed_and_every_path_in_it_is_there() {
    let known = [
        "FROM",
        "ARG",
        "ENV",
        "WORKDIR",
        "COPY",
        "RUN",
        "USER",
        "VOLUME",
        "EXPOSE",
        "ENTRYPOINT",
        "CMD",
        "HEALTHCHECK",
        "LABEL",
        "STOPSIGNAL",
    ];
    let all = instructions(&read("Dockerfile"));
    let ignored = read(".dockerignore");
    let mut stages = Vec::new();
    let mut installed = Vec::new();
    for words in &all {
        assert!(known.contains(&words[0].as_str()), "{words:?}");
        if words[0] == "FROM" {
            stages.extend(words.iter().skip_while(|word| *word != "AS").nth(1).cloned());
            installed.clear();
        }
        if words[0] == "COPY" {
            let from = words.iter().find_map(|word| word.strip_prefix("--from="));
            let paths: Vec<&String> = words[1..].iter().filter(|word| !word.starts_with("--")).collect();
            let (to, sources) = paths.split_last().unwrap();
            match from {
                Some(stage) => assert!(stages.iter().any(|known| known == stage), "{words:?}: no stage {stage}"),
                None => {
                    for source in sources {
                        assert!(root().join(source).exists(), "{words:?}: there is no {source}");
                        let top = source.split('/').next().unwrap();
                        let is_let_in =
                            |line: &str| [top, source].iter().any(|path| line.strip_prefix('!') == Some(path));
                        assert!(ignored.lines().any(is_let_in), ".dockerignore hides {source}");
                    }
                }
            }
            installed.push(PathBuf::from(to));
        }
    }
    let last = |name: &str| all.iter().rfind(|words| words[0] == name).unwrap_or_else(|| panic!("no {name}")).join(" ");
    assert_ne!(last("USER").split_whitespace().nth(1).unwrap(), "root");
    for exec_form in ["ENTRYPOINT", "CMD", "HEALTHCHECK"] {
        let line = last(exec_form);
        let list = &line[line.find('[').unwrap_or_else(|| panic!("{line}: a shell would be needed"))..];
        let words: Vec<String> = serde_json::from_str(list).unwrap_or_else(|error| panic!("{line}: {error}"));
        if let Some(program) = words.first().filter(|word| word.starts_with('/')) {
            assert!(
                installed.iter().any(|path| path == Path::new(program)),
                "{program} is not in the image: {installed:?}"
            );
        }
    }
}
