//! The unit and the image fit the program: its commands, its paths, its limits, and the state that it writes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use expunged::config::Limits;

use crate::support::code::sources;
use crate::support::shell::PROGRAM;
use crate::support::{project, text_of};

const UNIT: &str = "deploy/expunged.service";
/// What the unit must say for its exposure to stay as low as it is; the other directives are under test below.
const HARDENING: [&str; 28] = [
    "AmbientCapabilities=",
    "CapabilityBoundingSet=",
    "DevicePolicy=closed",
    "DynamicUser=yes",
    "KeyringMode=private",
    "LimitCORE=0",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "NoNewPrivileges=yes",
    "PrivateDevices=yes",
    "PrivateIPC=yes",
    "PrivateMounts=yes",
    "PrivateTmp=yes",
    "PrivateUsers=yes",
    "ProcSubset=pid",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHome=yes",
    "ProtectKernelModules=yes",
    "ProtectProc=invisible",
    "ProtectSystem=strict",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "StateDirectoryMode=0700",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "UMask=0077",
];
/// Exposure that `systemd-analyze security` may find, in tenths.
const EXPOSURE_MAX: &str = "11";

/// What the unit says of `name`; it must say so once.
fn directive(name: &str) -> String {
    let unit = text_of(UNIT);
    let prefix = format!("{name}=");
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(&prefix));
    let value = values.next().unwrap_or_else(|| panic!("{UNIT} does not say {name}"));
    assert!(values.next().is_none(), "{UNIT} says {name} twice");
    value.to_owned()
}

fn seconds(name: &str) -> Duration {
    let value = directive(name);
    Duration::from_secs(value.strip_suffix('s').unwrap_or(&value).parse().unwrap())
}

/// The arguments with which a service runs the program: a command of it, and its configuration.
fn assert_serves(arguments: &[&str]) {
    let [command, flag, config] = arguments else { panic!("{arguments:?}") };
    assert_eq!((*command, *flag), ("serve", "--config"));
    let help = Command::new(PROGRAM).args([command, "--help"]).output().unwrap();
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains(flag));
    assert!(text_of("README.md").contains(config), "the README does not say what belongs at {config}");
}

#[test]
fn the_unit_runs_a_command_that_there_is() {
    let start = directive("ExecStart");
    let words: Vec<&str> = start.split(' ').collect();
    assert!(text_of("README.md").contains(words[0]), "the README does not install {}", words[0]);
    assert_serves(&words[1..]);
    // It waits for the word that it is ready, and for signs of life; both are sent by the process itself.
    assert_eq!((directive("Type").as_str(), directive("NotifyAccess").as_str()), ("notify", "main"));
    assert!(seconds("WatchdogSec") >= Duration::from_secs(10));
}

#[test]
fn the_unit_does_not_restart_what_a_person_must_mend() {
    let missing =
        Command::new(PROGRAM).args(["serve", "--config", "/nonexistent/expunged.toml"]).output().unwrap();
    let code = missing.status.code().unwrap().to_string();
    assert_eq!(directive("RestartPreventExitStatus"), code, "the exit code of a bad configuration");
    assert_eq!(directive("Restart"), "on-failure");
}

#[test]
fn the_unit_leaves_room_for_the_programs_limits() {
    let limits = Limits::default();
    assert!(directive("LimitNOFILE").parse::<usize>().unwrap() >= limits.connections_max * 2);
    assert!(seconds("TimeoutStopSec") >= limits.drain_timeout + Duration::from_secs(10));
}

#[test]
fn the_example_writes_only_where_the_unit_and_the_image_let_it() {
    let state = format!("/var/lib/{}", directive("StateDirectory"));
    assert_eq!(directive("WorkingDirectory"), state);
    assert_eq!(instruction("WORKDIR").last().unwrap(), &state);
    assert_eq!(instruction("VOLUME"), [state]);
    let example = text_of("config/expunged.toml");
    for quoted in example.split('"').skip(1).step_by(2).filter(|text| text.contains('/')) {
        let path = quoted.strip_prefix("sqlite://").unwrap_or(quoted);
        assert!(
            path.starts_with("data/") || path.starts_with("/run/credentials/"),
            "{quoted} cannot be written"
        );
    }
}

#[test]
fn i10_the_example_reads_its_secrets_where_the_unit_puts_them() {
    let (id, folder) =
        directive("LoadCredential").split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(
        text_of("README.md").contains(&format!("{folder}/")),
        "the README does not say what belongs in {folder}"
    );
    let example = text_of("config/expunged.toml");
    let files: Vec<&str> =
        example.split("file = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(!files.is_empty());
    for file in files {
        assert!(file.starts_with(&format!("/run/credentials/expunged.service/{id}_")), "{file}");
    }
}

#[test]
fn the_unit_is_hardened() {
    let unit = text_of(UNIT);
    let missing: Vec<_> = HARDENING.iter().filter(|line| !unit.lines().any(|it| it == **line)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(!unit.contains("\nReadWritePaths="), "it writes its state alone");
}

#[test]
fn systemd_takes_the_unit_and_finds_it_safe() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return;
    }
    // Verifying looks for the program, which is not installed here.
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("expunged.service");
    let installed = directive("ExecStart").split(' ').next().unwrap().to_owned();
    let start = format!("ExecStart={installed}");
    fs::write(&unit, text_of(UNIT).replace(&start, &format!("ExecStart={PROGRAM}"))).unwrap();
    let unit = unit.to_str().unwrap();
    analyze(&["verify", "--man=no", unit]);
    analyze(&["security", "--offline=true", &format!("--threshold={EXPOSURE_MAX}"), unit]);
}

fn analyze(arguments: &[&str]) {
    let output = Command::new("systemd-analyze").arg("--no-pager").args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
}

/// The arguments of each such instruction of the Dockerfile.
fn instruction(name: &str) -> Vec<String> {
    let text = text_of("deploy/Dockerfile");
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(word, _)| *word == name).map(|(_, rest)| rest.to_owned()).collect()
}

/// The paths that the image copies from the project.
fn copied() -> Vec<String> {
    let copies = instruction("COPY").into_iter().filter(|copy| !copy.starts_with("--from"));
    copies
        .flat_map(|copy| {
            let mut paths: Vec<String> = copy.split(' ').map(str::to_owned).collect();
            paths.pop();
            paths
        })
        .collect()
}

#[test]
fn the_image_runs_a_command_that_there_is_as_a_user_without_rights() {
    let list = |name: &str| serde_json::from_str::<Vec<String>>(&instruction(name)[0]).unwrap();
    let (entry, command) = (list("ENTRYPOINT"), list("CMD"));
    let program = format!("/build/target/release/expunged {}", entry[0]);
    assert!(instruction("COPY").iter().any(|copy| copy.ends_with(&program)), "{entry:?} is not copied");
    assert_serves(&command.iter().map(String::as_str).collect::<Vec<_>>());
    let user: u32 = instruction("USER")[0].split(':').next().unwrap().parse().unwrap();
    assert!(user >= 1000, "the user has a number, and none of the system's");
}

#[test]
fn the_image_is_built_from_all_that_the_program_is_made_of() {
    let copied = copied();
    let ignored = text_of(".dockerignore");
    for path in &copied {
        assert!(project(path).exists(), "{path}");
        assert!(ignored.lines().any(|line| line == format!("!{path}")), ".dockerignore holds {path} back");
    }
    for source in sources().into_iter().filter(|source| !source.code.is_empty()) {
        for include in source.text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next())
        {
            let folder = Path::new("src").join(&source.path).parent().unwrap().to_owned();
            let file = project(".").join(folder).join(include).canonicalize().unwrap();
            let held = copied.iter().any(|path| file.starts_with(project(path).canonicalize().unwrap()));
            assert!(held, "{}: {include} is not in the image", source.path);
        }
    }
}

#[test]
fn the_image_is_built_with_a_compiler_that_is_new_enough() {
    let minor = |text: &str| {
        text.split('.').nth(1).unwrap().split(['-', '"']).next().unwrap().parse::<u32>().unwrap()
    };
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let from = instruction("FROM");
    assert!(from[0].starts_with("rust:1."), "{from:?}");
    assert!(minor(&from[0]) >= minor(wanted), "{} builds what wants {wanted}", from[0]);
}
