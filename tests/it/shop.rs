//! The shop of etc/shop: its configurations fit each other. tests/external/shop.sh runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use crate::support::program::{run, stderr};

const SERVICES: [&str; 4] = ["front", "orders", "inventory", "payments"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("etc/shop")
}

fn configurations() -> BTreeMap<&'static str, Value> {
    let read = |name| {
        let text = std::fs::read_to_string(folder().join(format!("{name}.yaml"))).unwrap();
        (name, serde_yaml::from_str(&text).unwrap())
    };
    SERVICES.map(read).into()
}

/// A method and a path without the names of its parameters.
fn request(method: &Value, path: &str) -> (String, String) {
    let segments = path.split('/').map(|segment| match segment {
        named if named.starts_with('{') => "{}",
        plain => plain,
    });
    let path = segments.collect::<Vec<_>>().join("/");
    (method.as_str().unwrap_or("GET").to_owned(), path)
}

fn routes(configuration: &Value) -> &Vec<Value> {
    configuration["Workload"]["Routes"].as_array().unwrap()
}

#[test]
fn each_configuration_is_good_and_blind() {
    for (name, configuration) in configurations() {
        assert_eq!(configuration["Name"], name);
        assert_eq!(configuration["Blind"], true);
        let file = folder().join(format!("{name}.yaml"));
        let args = ["--check", "-f", file.to_str().unwrap()];
        let checked = run(&args, &[("MOCKSERVER_ADMIN_HOST", "127.0.0.1")]);
        assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    }
}

#[test]
fn each_call_finds_its_route_and_each_route_its_caller() {
    let configurations = configurations();
    let mut called = BTreeSet::new();
    for configuration in configurations.values() {
        for call in routes(configuration)
            .iter()
            .filter_map(|route| route["Calls"].as_array())
            .flatten()
        {
            let Some(url) = call["Url"].as_str() else {
                continue;
            };
            let (address, path) = url["http://".len()..].split_once('/').unwrap();
            let (host, port) = address.split_once(':').unwrap();
            assert_eq!((call["Name"].as_str(), port), (Some(host), "8888"), "{url}");
            called.insert((host, request(&call["Method"], &format!("/{path}"))));
        }
    }
    // What customers call.
    let served = configurations
        .iter()
        .filter(|(name, _)| **name != "front")
        .flat_map(|(name, configuration)| {
            let paths = routes(configuration).iter();
            paths.map(|route| {
                let path = route["Path"].as_str().unwrap();
                (*name, request(&route["Method"], path))
            })
        });
    assert_eq!(called, served.collect());
}
