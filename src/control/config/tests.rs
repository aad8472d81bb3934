//! Golden tests of the messages: each `golden/NAME.toml` is checked, and what a person reads of it is `golden/NAME.txt`.
//! `UPDATE_GOLDEN=1 cargo test` writes them anew. Then the properties: no text at all makes the checker panic.

use super::*;
use proptest::prelude::*;
use std::net::SocketAddr;

fn resolve(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    match host {
        "a.example" | "localhost" => Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))]),
        "b.example" => Ok(vec![SocketAddr::from(([10, 0, 0, 3], port)), SocketAddr::from(([10, 0, 0, 2], port))]),
        _ => Err(std::io::Error::other("Name or service not known")),
    }
}

fn check_text(text: &str) -> Result<Loaded, Report> {
    load_text("ringgate.toml", text, &resolve)
}

fn settings_of(text: &str) -> Settings {
    match check_text(text) {
        Ok(loaded) => loaded.settings,
        Err(report) => panic!("{report}"),
    }
}

/// What is wrong, one title a line.
fn titles(text: &str) -> String {
    let report = match check_text(text) {
        Ok(loaded) => loaded.warnings,
        Err(report) => report,
    };
    report.mistakes().iter().map(|mistake| format!("{}\n", mistake.title)).collect()
}

const SMALLEST: &str = include_str!("golden/smallest.toml");

#[test]
fn golden_messages() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control/config/golden");
    let mut checked = 0;
    for entry in std::fs::read_dir(&directory).expect("the golden directory is there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).expect("it can be read");
            golden(&path.with_extension("txt"), &message_of(&text));
            checked += 1;
        }
    }
    assert!(checked >= 10);
}

fn message_of(text: &str) -> String {
    match check_text(text) {
        Ok(loaded) if loaded.warnings.mistakes().is_empty() => "ok\n".to_owned(),
        Ok(loaded) => format!("ok, with warnings\n\n{}\n", loaded.warnings),
        Err(report) => format!("{report}\n"),
    }
}

pub(super) fn golden(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, actual).expect("the golden file can be written");
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    let lines = expected.lines().zip(actual.lines()).enumerate().find(|(_, (expected, actual))| expected != actual);
    assert!(expected == actual, "{} is not current; UPDATE_GOLDEN=1 rewrites it. {lines:#?}", path.display());
}

#[test]
fn the_smallest_file_is_enough_and_safe() {
    let settings = settings_of(SMALLEST);
    assert_eq!(settings.process.admin, Some(SocketAddr::from(([127, 0, 0, 1], 9_900))));
    assert_eq!(settings.process.access_log, None);
    assert_eq!((settings.listeners.len(), settings.routes.len(), settings.upstreams.len()), (1, 1, 1));
    let crate::snapshot::Protocol::Http(http) = &settings.listeners[0].protocol else { panic!("http is the default") };
    assert!(http.trusted.ip.is_empty() && !http.trusted.unix);
    assert!(http.target_max <= http.head_max && http.body_max < u64::MAX);
    assert!(!http.request_head_timeout.is_zero() && !http.response_pace.silence_max.is_zero());
}

#[test]
fn a_snapshot_keeps_what_belongs_to_identities() {
    let mut registry = crate::upstream::Registry::new(2);
    let first = compile(settings_of(SMALLEST), &mut registry, 1);
    let more = SMALLEST.replace("[\"127.0.0.1:3000\"]", "[\"127.0.0.1:3001\", \"127.0.0.1:3000\"]\nretries = 7");
    let second = compile(settings_of(&more), &mut registry, 2);
    let (old, new) = (&first.upstreams[0], &second.upstreams[0]);
    assert!(Arc::ptr_eq(&old.identity, &new.identity));
    assert!(Arc::ptr_eq(&old.endpoints[0].identity, &new.endpoints[1].identity));
    assert_eq!(first.listeners[0].identity.id, second.listeners[0].identity.id);
    assert!(Arc::ptr_eq(&first.listeners[0].identity, &second.listeners[0].identity));
    assert!(Arc::ptr_eq(&first.routes[0].stats, &second.routes[0].stats));
    assert_eq!((second.generation, new.retries), (2, 7));
}

#[test]
fn a_reload_cannot_change_what_holds_for_the_process() {
    let running = settings_of(SMALLEST).process;
    let changed = format!("workers = 3\nengine = \"epoll\"\n[admin]\naddress = \"off\"\n[access_log]\n{SMALLEST}");
    let files = Files::of_text("ringgate.toml", &changed);
    let report = load_files(files, Some(&running), &resolve).expect_err("it is refused");
    assert_eq!(report.errors(), 4, "{report}");
    golden(&golden_path("process_changes.txt"), &format!("{report}\n"));
    let same = load_files(Files::of_text("ringgate.toml", SMALLEST), Some(&running), &resolve);
    assert!(same.is_ok());
}

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control/config/golden").join(name)
}

#[test]
fn limits_hold_at_n_and_not_above() {
    let endpoints = |count: usize| {
        let list: Vec<_> = (0..count).map(|n| format!("\"10.{}.{}.1:80\"", n / 256, n % 256)).collect();
        SMALLEST.replace("\"127.0.0.1:3000\"", &list.join(", "))
    };
    assert_eq!(titles(&endpoints(keys::ENDPOINTS_MAX)), "");
    assert_eq!(
        titles(&endpoints(keys::ENDPOINTS_MAX + 1)),
        format!("more than {} endpoints in one upstream\n", keys::ENDPOINTS_MAX)
    );
    let listeners = |count: usize| {
        let one = |n| format!("[[listener]]\naddress = \"127.0.0.1:{}\"\nupstream = \"app\"\n", n + 1);
        (0..count).map(one).collect::<String>() + "[upstream.app]\nendpoints = [\"127.0.0.1:3000\"]"
    };
    assert_eq!(titles(&listeners(keys::LISTENERS_MAX)), "");
    assert_eq!(titles(&listeners(keys::LISTENERS_MAX + 1)), "more than 1024 listeners\n");
    let name =
        |bytes: usize| SMALLEST.replace("[[listener]]", &format!("[[listener]]\nname = \"{}\"", "n".repeat(bytes)));
    assert_eq!(titles(&name(keys::NAME_BYTES_MAX)), "");
    assert!(titles(&name(keys::NAME_BYTES_MAX + 1)).contains("cannot be read as `name`"));
    let workers = |count: &str| format!("workers = {count}\n{SMALLEST}");
    assert_eq!(titles(&workers("1024")), "");
    for beyond in ["1025", "0", "-1", "9223372036854775807", "99999999999999999999999999"] {
        assert_eq!(titles(&workers(beyond)), "`workers` is out of range\n", "{beyond}");
    }
}

#[test]
fn more_mistakes_than_anyone_reads_are_counted() {
    let text: String = (0..200).map(|n| format!("unknown_{n} = 1\n")).collect();
    let report = check_text(&text).expect_err("nothing of it is known");
    assert!(report.errors() >= 200);
    assert!(report.to_string().contains("... and 1"));
}

/// Every key of every table, set to `value`.
fn every_key_set_to(value: &str) -> String {
    let mut text = String::new();
    let tables = [&keys::TOP, &keys::ADMIN, &keys::ACCESS_LOG, &keys::LISTENER, &keys::ROUTE, &keys::UPSTREAM];
    for table in tables {
        text.push_str(&table.title.replace("NAME", "app"));
        text.push('\n');
        for key in table.keys.iter().filter(|key| !matches!(key.kind, keys::Kind::OneTable(_))) {
            if !matches!(key.kind, keys::Kind::Tables(_) | keys::Kind::NamedTables(_)) {
                text.push_str(&format!("{} = {value}\n", key.name));
            }
        }
    }
    text
}

#[test]
fn every_field_blank_huge_or_of_another_type_is_an_error_and_no_panic() {
    let huge = format!("\"{}\"", "9".repeat(5_000));
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    for value in
        ["\"\"", "[]", "{}", "-1", "9223372036854775807", "1e300", "nan", "1979-05-27", "[[]]", "[{}]", &huge, &deep]
    {
        let report = check_text(&every_key_set_to(value)).expect_err(&value[..value.len().min(40)]);
        assert!(report.errors() > 5);
        let _ = (report.to_string(), report.render(true), report.to_json());
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "(?s).{0,400}") {
        let _ = check_text(&text).map_err(|report| (report.to_string(), report.to_json()));
    }

    /// Pieces that are likely to get deep into the checker.
    #[test]
    fn no_jumble_of_pieces_panics(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60)) {
        let _ = check_text(&pieces.concat()).map_err(|report| (report.to_string(), report.to_json()));
    }

    /// A file that is cut off, or has one byte changed, anywhere.
    #[test]
    fn no_damage_panics(at in 0usize..2_000, with in any::<char>(), cut: bool) {
        let text = include_str!("golden/many_mistakes.toml");
        let at = values::border_before(text, at % text.len());
        let rest = if cut { "" } else { text[at..].trim_start_matches(|_: char| false) };
        let _ = check_text(&format!("{}{with}{rest}", &text[..at])).map_err(|report| report.to_string());
    }
}

const PIECES: &[&str] = &[
    "[[listener]]\n",
    "[[route]]\n",
    "[upstream.app]\n",
    "[upstream]\n",
    "[admin]\n",
    "[access_log]\n",
    "name",
    "address",
    "upstream",
    "endpoints",
    "listener",
    "host",
    "path",
    "path_exact",
    "method",
    "protocol",
    "weight",
    "trusted",
    "app",
    " = ",
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    "\n",
    "#",
    "\"app\"",
    "\"127.0.0.1:80\"",
    "\"a.example:80\"",
    "\"tcp\"",
    "\"/\"",
    "\"*.a\"",
    "1",
    "-1",
    "0x",
    "true",
    "\u{feff}",
    "é",
    "\u{0}",
    "\r\n",
    "\t",
    "[\"",
    "\"]",
    "head_max",
];

/// The main file and fragments, as if read from a directory.
fn check_files(files: &[(&str, &str)]) -> Result<Loaded, Report> {
    let mut all = Files::default();
    for (path, text) in files {
        all.sources.push(report::Source { path: (*path).to_owned(), text: (*text).to_owned() });
        all.directories.push(PathBuf::new());
    }
    load_files(all, None, &resolve)
}

#[test]
fn fragments_add_tables_and_never_override() {
    let added =
        "[[route]]\nhost = \"a.example\"\nupstream = \"more\"\n[upstream.more]\nendpoints = [\"127.0.0.1:1\"]\n";
    let loaded = check_files(&[("ringgate.toml", SMALLEST), ("conf.d/more.toml", added)]).expect("it is right");
    assert_eq!((loaded.settings.routes.len(), loaded.settings.upstreams.len()), (2, 2));
    let main = format!("workers = 2\n[admin]\naddress = \"127.0.0.1:1\"\n{SMALLEST}");
    let overriding = "workers = 3\nengine = \"epoll\"\n[admin]\naddress = \"127.0.0.1:2\"\n[upstream.app]\nendpoints = [\"127.0.0.1:1\"]\n[[route]]\nupstream = \"app\"\n";
    let report = check_files(&[("ringgate.toml", &main), ("conf.d/over.toml", overriding)]).expect_err("it overrides");
    golden(&golden_path("fragments.txt"), &format!("{report}\n"));
}

#[test]
fn the_form_for_programs_has_every_place() {
    let report = check_text(include_str!("golden/twice.toml")).expect_err("it is wrong");
    golden(&golden_path("twice.json"), &format!("{:#}\n", report.to_json()));
}

/// A directory of its own for a test; removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("ringgate-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(path.join("conf.d")).expect("a temporary directory can be made");
        Directory(path)
    }

    fn titles_of(&self, text: &[u8]) -> Vec<String> {
        let path = self.0.join("ringgate.toml");
        std::fs::write(&path, text).expect("a file can be written");
        let outcome = load(&path, None);
        let report = outcome.map_or_else(|report| report, |loaded| loaded.warnings);
        report.mistakes().iter().map(|mistake| mistake.title.clone()).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let directory = Directory::new("unreadable");
    assert!(
        load(&directory.0.join("missing.toml"), None).is_err_and(|report| report.to_string().contains("No such file"))
    );
    assert!(load(&directory.0, None).is_err_and(|report| report.to_string().contains("s a directory")));
    assert!(directory.titles_of(b"workers = 2\n\xff\n")[0].contains("line 2 is not UTF-8"));
    let included = |name: &str| format!("include = \"{name}\"\n{SMALLEST}");
    assert!(directory.titles_of(included("missing.d").as_bytes())[0].contains("cannot read the directory"));
    assert!(directory.titles_of(included("conf.d").as_bytes()).is_empty());
    std::fs::write(directory.0.join("conf.d/.hidden.toml"), "nonsense").expect("it can be written");
    std::fs::write(directory.0.join("conf.d/readme.md"), "nonsense").expect("it can be written");
    assert!(directory.titles_of(included("conf.d").as_bytes()).is_empty());
    std::fs::write(directory.0.join("conf.d/broken.toml"), "nonsense").expect("it can be written");
    assert_eq!(directory.titles_of(included("conf.d").as_bytes()), ["this is not TOML"]);
}

#[test]
fn a_file_may_have_this_many_bytes_and_no_more() {
    let directory = Directory::new("large");
    let of_length = |bytes: u64| {
        let rest = usize::try_from(bytes).expect("it fits") - SMALLEST.len();
        format!("{SMALLEST}{}", "#".repeat(rest)).into_bytes()
    };
    assert!(directory.titles_of(&of_length(keys::FILE_BYTES_MAX)).is_empty());
    assert!(directory.titles_of(&of_length(keys::FILE_BYTES_MAX + 1))[0].contains("larger than 16MiB"));
}

#[test]
fn the_admin_address_is_found_in_a_file_that_is_wrong() {
    let directory = Directory::new("admin");
    let address = |text: &str| {
        let path = directory.0.join("ringgate.toml");
        std::fs::write(&path, text).expect("a file can be written");
        admin_address(&path).map(|address| address.port())
    };
    assert_eq!(address("[admin]\naddress = \"127.0.0.1:7\"\n[[route]]\nhost = \nhots = 1\n"), Some(7));
    assert_eq!(address("[admin]\naddress = \"off\"\n"), None);
    assert_eq!(address(""), Some(9_900));
    assert_eq!(admin_address(Path::new("missing.toml")).map(|address| address.port()), Some(9_900));
}

#[test]
fn a_large_file_of_nonsense_is_refused_as_quickly_as_it_is_read() {
    let nonsense = "what is this\n".repeat(2_000);
    let twice = "[upstream.app]\nendpoints = []\n".repeat(1_000);
    let unknown: String = (0..1_000).map(|n| format!("[[route]]\nupstream = \"w{n}\"\n[upstream.u{n}]\n")).collect();
    for text in [nonsense, twice, unknown] {
        let report = check_text(&text).expect_err("it is nonsense");
        assert!(report.errors() >= 1_000 && report.to_string().contains("more"));
    }
}

#[test]
fn as_many_routes_as_are_allowed_and_no_more() {
    let of = |count: usize| {
        let route = |n: usize| format!("[[route]]\npath = \"/{n}\"\nupstream = \"app\"\n");
        (0..count).map(route).collect::<String>() + SMALLEST
    };
    assert_eq!(titles(&of(keys::ROUTES_MAX)), "");
    assert_eq!(titles(&of(keys::ROUTES_MAX + 1)), "more than 65536 routes\n");
}
