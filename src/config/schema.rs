//! The only definition of the configuration's keys: name, meaning, range and default of each.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use http::Uri;
use serde_json::{Map, Value, json};

use super::file::read_bounded;
use super::{Admin, Auth, Config, Log, LogFormat, LogMode, Otel};
use crate::boot::profile::BootProfile;
use crate::client;
use crate::exam::preset::ExamSpec;
use crate::input::Fields;
use crate::input::limits::Limits;
use crate::plugin::Registry;
use crate::traffic::TrafficSpec;
use crate::upstream::spec::Target;
use crate::workload::{PathTemplate, WorkloadSpec, rings};

pub(super) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The name of this program.
const PRODUCT: &str = "mockserver";
const ADDRESS_RULE: &str = "must be an IP address without a port, such as 0.0.0.0, ::1 or [::], or localhost; \
                            other names are not looked up";
const TEXT_RULE: &str = "must be a text that is not empty";
const TOKEN_RULE: &str =
    "must be visible ASCII characters without spaces, as a header carries them";

impl Config {
    /// JSON Schema of the whole configuration, with the scenarios of `registry`.
    pub(crate) fn schema(registry: Registry) -> Value {
        let mut fields = Fields::new("", Map::new());
        Self::read(&mut fields, registry);
        fields.schema()
    }

    pub(super) fn read(fields: &mut Fields, registry: Registry) -> Self {
        let about = "The service's name in its logs, metrics and traces.";
        let default = (PRODUCT.to_owned(), PRODUCT);
        let name = fields
            .field("Name", about)
            .text(TEXT_RULE, default, not_empty);
        let about = "The service's version in its metrics and traces; the binary's own without it.";
        let version = fields
            .field("Version", about)
            .optional()
            .text(TEXT_RULE, not_empty);
        let host = address(fields, "Address of the service listener.");
        let port = fields
            .field("Port", "Port of the service listener; 0 takes a free one.")
            .integer(0..=u16::MAX, 8888);
        let log = fields.section("Log", "Where and how logs are written.", Log::read);
        let admin = fields.section("Admin", "The listener that no fault touches.", Admin::read);
        let same_host = host == admin.host || host.is_unspecified() || admin.host.is_unspecified();
        if admin.port == Some(port) && same_host {
            let detail = "must differ from Port: two listeners cannot share a port";
            fields.reject_at("/Admin/Port", detail);
        }
        let auth = fields.section("Auth", "Access to the API.", Auth::read);
        let about = "Whether all that others can see is an ordinary service: the API is on the admin listener alone.";
        let blind = fields.field("Blind", about).flag(false);
        if blind {
            check_blind(fields, &name, &admin, &auth);
        }
        let about = "Folder of the ledger and of what disk faults write; created when missing.";
        let data_dir =
            fields
                .field("DataDir", about)
                .text("must be a path", ("data".into(), "data"), path);
        let otel = fields.section("Otel", "Where traces are sent.", Otel::read);
        let about = "How a version that is bad from birth behaves.";
        let boot = fields.section("Boot", about, |boot| BootProfile::read(boot, registry));
        let names: Vec<_> = registry.iter().map(|plugin| plugin.name()).collect();
        let about = "The most that a request may ask for.";
        let limits = fields.section("Limits", about, |limits| Limits::read(limits, &names));
        let workload = workload(fields, (host, port));
        let traffic = TrafficSpec::read(fields, workload.as_ref());
        let exam = ExamSpec::read(fields, registry);
        Self {
            name,
            version: version.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
            host,
            port,
            log,
            admin,
            auth,
            blind,
            data_dir,
            otel,
            boot,
            limits,
            workload,
            traffic,
            exam,
        }
    }
}

impl Log {
    fn read(fields: &mut Fields) -> Self {
        let modes = [("console", LogMode::Console), ("file", LogMode::File)];
        let levels = [
            ("info", tracing::Level::INFO),
            ("debug", tracing::Level::DEBUG),
            ("warn", tracing::Level::WARN),
            ("error", tracing::Level::ERROR),
        ];
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        Self {
            admin: fields
                .field(
                    "Admin",
                    "File for the lines of faults, sessions and the API, which the service's log then lacks; \
                     rotated: a.log is written as a.2026-01-31.log.",
                )
                .optional()
                .text("must be the path of a file", path_of_file),
            mode: fields
                .field("Mode", "Standard output, or files, at least one a day.")
                .choice(&modes),
            level: fields
                .field("Level", "The least severe level that is written.")
                .choice(&levels),
            path: fields.field("Path", "Folder of the log files.").text(
                "must be a path",
                ("logs".into(), "logs"),
                path,
            ),
            format: fields
                .field("Format", "Text, or one JSON object a line.")
                .choice(&formats),
            keep_days: fields
                .field(
                    "Keep",
                    "Days that log files are kept, today included; 0 keeps all.",
                )
                .integer(0..=36_500, 30),
            max_mb: fields
                .field("MaxMb", "The most of all log files, in MiB; 0 is no bound.")
                .integer(0..=1_048_576, 1024),
            requests: fields
                .field(
                    "Requests",
                    "A line for each request at level info; auto: where there is a Workload.",
                )
                .choice(&[
                    ("auto", None),
                    ("always", Some(true)),
                    ("never", Some(false)),
                ]),
            request_share: fields
                .field(
                    "RequestShare",
                    "Share of the requests that do not fail that have such a line.",
                )
                .number(0.0..=1.0, 1.0),
        }
    }
}

impl Admin {
    fn read(fields: &mut Fields) -> Self {
        let host = address(fields, "Address of the admin listener.");
        let port = fields
            .field("Port", "Port of the admin listener; 0 turns it off.")
            .integer(0..=u16::MAX, 8889);
        Self {
            host,
            port: (port > 0).then_some(port),
        }
    }
}

impl Auth {
    fn read(fields: &mut Fields) -> Self {
        let has_admin = fields.has("Token") || fields.has("TokenFile");
        let about = (
            "The bearer token that every POST must carry.",
            "A file that holds the token; give one of the two.",
        );
        let token = token(fields, ("Token", "TokenFile"), about);
        let about = (
            "The token of a release system, which may only post events of drills.",
            "A file that holds it.",
        );
        let release_token = token_of_role(
            fields,
            ("ReleaseToken", "ReleaseTokenFile"),
            about,
            has_admin,
        );
        let about = (
            "The token of a candidate, who may only see the open drill and answer it.",
            "A file that holds it.",
        );
        let candidate_token = token_of_role(
            fields,
            ("CandidateToken", "CandidateTokenFile"),
            about,
            has_admin,
        );
        let tokens = [
            ("Token", &token),
            ("ReleaseToken", &release_token),
            ("CandidateToken", &candidate_token),
        ];
        refuse_equal(fields, &tokens);
        let about = "Whether reads of the control API, events and the admin listener's metrics need the token too.";
        let protect_reads = fields.field("ProtectReads", about).flag(false);
        if protect_reads && token.is_none() {
            fields.reject("ProtectReads", "needs a Token or a TokenFile");
        }
        let about = "Host names under which a browser may open the daemon, besides localhost and IP addresses.";
        let allowed_hosts = fields.field("AllowedHosts", about);
        let host = json!({ "type": "string" });
        Self {
            token,
            release_token,
            candidate_token,
            protect_reads,
            allowed_hosts: allowed_hosts.list_of(host, "names of hosts without ports", |name| {
                let authority: http::uri::Authority = name.parse().ok()?;
                (authority.host() == name).then(|| name.to_owned())
            }),
        }
    }
}

impl Otel {
    fn read(fields: &mut Fields) -> Self {
        let about = "URL of a collector for traces (OTLP over HTTP); empty: no traces.";
        let rule = "must be a URL of the form http://host:port, or empty";
        let endpoint = fields.field("Endpoint", about).optional();
        Self {
            endpoint: endpoint.text(rule, collector).flatten(),
        }
    }
}

/// A token from one of two keys: as it is, or from a file.
fn token(
    fields: &mut Fields,
    (key, file_key): (&'static str, &'static str),
    (about, about_file): (&'static str, &'static str),
) -> Option<String> {
    fields.either(key, file_key);
    let field = fields.field(key, about).secret().optional();
    let token = field.text(TOKEN_RULE, token_of);
    let field = fields.field(file_key, about_file).optional();
    let from_file = field.text(
        "must be a readable file that holds nothing but visible ASCII characters",
        |file| token_of(read_bounded(Path::new(file)).ok()?.trim()),
    );
    token.or(from_file)
}

/// The same for one who may do less than the admin, which makes no sense where everyone is the admin.
fn token_of_role(
    fields: &mut Fields,
    keys: (&'static str, &'static str),
    about: (&'static str, &'static str),
    has_admin: bool,
) -> Option<String> {
    let given = [keys.0, keys.1].into_iter().find(|key| fields.has(key));
    if let Some(given) = given.filter(|_| !has_admin) {
        let detail = "needs a Token or a TokenFile: without one every client may do all";
        fields.reject(given, detail);
    }
    token(fields, keys, about)
}

/// Refuses a token that says of two roles which one it is of.
fn refuse_equal(fields: &mut Fields, tokens: &[(&'static str, &Option<String>)]) {
    for (i, (name, token)) in tokens.iter().enumerate() {
        let same = tokens[..i]
            .iter()
            .find(|(_, other)| token.is_some() && other == token);
        if let Some((other, _)) = same {
            fields.reject(name, format!("must be another token than {other}"));
        }
    }
}

/// Refuses a blind service that would give itself away, or that nothing could control.
fn check_blind(fields: &mut Fields, name: &str, admin: &Admin, auth: &Auth) {
    if name.to_ascii_lowercase().contains(PRODUCT) {
        let detail =
            "must be the name of the service that Blind makes it look like, without mockserver";
        fields.reject("Name", detail);
    }
    if admin.port.is_none() {
        let detail = "needs the admin listener, which has the whole API then: set Admin.Port";
        fields.reject("Blind", detail);
    } else if !admin.host.is_loopback() && auth.token.is_none() {
        let detail = "needs Auth.Token or Auth.TokenFile where Admin.Host is not loopback: \
                      the admin listener would answer anyone who reaches it";
        fields.reject("Blind", detail);
    }
}

fn address(fields: &mut Fields, about: &'static str) -> IpAddr {
    let parse = |text: &str| {
        if text.eq_ignore_ascii_case("localhost") {
            return Some(LOOPBACK);
        }
        // An IPv6 address as a URL has it.
        let in_brackets = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        match in_brackets {
            Some(address) => address.parse().map(IpAddr::V6).ok(),
            None => text.parse().ok(),
        }
    };
    let field = fields.field("Host", about);
    field.text(ADDRESS_RULE, (LOOPBACK, "127.0.0.1"), parse)
}

/// The workload, whose routes must not take requests from the daemon's own, nor call themselves.
fn workload(fields: &mut Fields, service: (IpAddr, u16)) -> Option<WorkloadSpec> {
    let workload = WorkloadSpec::read(fields)?;
    let own = crate::http::routes();
    let own: Vec<_> = own
        .iter()
        .filter_map(|(_, path, _)| PathTemplate::parse(path))
        .collect();
    for (i, route) in workload.routes.iter().enumerate() {
        if let Some(own) = own.iter().find(|own| own.overlaps(&route.path)) {
            let detail = format!(
                "{} would take requests to {own}, which has a route already",
                route.path
            );
            fields.reject_at(&format!("/Workload/Routes/{i}/Path"), detail);
        }
    }
    for ring in rings(&workload.routes, |target| is_at(target, service)) {
        let by = match ring.first == ring.route {
            true => String::new(),
            false => format!(" by Routes.{}", ring.first),
        };
        let detail =
            format!("leads back to its own route{by}: one request would make another without end");
        let pointer = format!("/Workload/Routes/{}/Calls/{}/Url", ring.route, ring.call);
        fields.reject_at(&pointer, detail);
    }
    Some(workload)
}

/// Whether a call of `target` reaches a listener at this address and port, as far as its URL shows it: names other than
/// localhost are not looked up.
fn is_at(target: &Target, (host, port): (IpAddr, u16)) -> bool {
    let name = target.address.rsplit_once(':').map_or("", |(name, _)| name);
    let is_host = if name.eq_ignore_ascii_case("localhost") {
        host.is_loopback() || host.is_unspecified()
    } else {
        let name = name.trim_start_matches('[').trim_end_matches(']');
        name.parse().is_ok_and(|called: IpAddr| {
            let is_here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
            // To call no address is to call this machine.
            called == host
                || is_here(called) && host.is_unspecified()
                || called.is_unspecified() && host.is_loopback()
        })
    };
    is_host && port > 0 && target.port == port
}

fn not_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn path(text: &str) -> Option<PathBuf> {
    not_empty(text).map(PathBuf::from)
}

fn path_of_file(text: &str) -> Option<PathBuf> {
    path(text).filter(|path| !text.ends_with('/') && path.file_stem().is_some())
}

/// A token that a client can send.
fn token_of(text: &str) -> Option<String> {
    let can_be_sent = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    can_be_sent.then(|| text.to_owned())
}

/// The URL of a collector, or none where the text is empty. A password is refused, because the URL is shown.
pub(super) fn collector(text: &str) -> Option<Option<Uri>> {
    if text.is_empty() {
        return Some(None);
    }
    let uri: Uri = text.parse().ok()?;
    let is_bare = uri.query().is_none() && !uri.authority()?.as_str().contains('@');
    (is_bare && client::address_of(&uri).is_some()).then_some(Some(uri))
}
