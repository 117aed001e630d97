//! What this API answers to a node and to kubectl, compared with what a real kube-apiserver answered.
//!
//! Each file of `recorded/` is a conversation: requests that people wrote, and the answers that a real control plane
//! gave. The requests are put to this API in the same order, and the answers must have the same shape: status code,
//! reason, the same fields of the same types. `cargo test -p picolet-devcluster --test recorded -- --ignored` makes the
//! answers anew (it needs Go for the control plane).

mod common;

use common::{Answer, Caller};
use picolet_controlplane::{Binaries, ControlPlane, Options, Place, Subject, Validity};
use picolet_devcluster::host::{DevCluster, HostOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The node that asks.
const NODE: &str = "pico-1";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Conversation {
    /// What it is about.
    about: String,
    steps: Vec<Step>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Step {
    /// `node`, `admin`, `anonymous`, or a bearer token.
    r#as: String,
    /// Method and path. `{name}` is replaced by what an earlier step saved.
    request: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    headers: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    body: Value,
    /// Names for values of the answer, by their JSON pointers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    save: BTreeMap<String, String>,
    /// Repeat until the code is this: for what the real one's controllers do in their own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u16>,
    /// Fields that are not compared, as dotted paths without the places of lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ignore: Vec<String>,
    /// Lists of which this API may have fewer elements: each of its own is compared with the one of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subset: Vec<String>,
    /// The status code that the real API server answered with.
    #[serde(default)]
    code: u16,
    /// Its body; of a watch the list of events.
    #[serde(default)]
    answer: Value,
}

/// Fields that this API leaves to the real one: it tracks no field managers, has no allocator of addresses, and its
/// version is its own.
const NEVER_COMPARED: [&str; 4] = [
    "metadata.managedFields",
    "items.metadata.managedFields",
    "object.metadata.managedFields",
    "metadata.selfLink",
];

struct Callers {
    node: Caller,
    admin: Caller,
    anonymous: Caller,
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let entries = std::fs::read_dir(folder).expect("the recordings");
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

fn read(file: &Path) -> Conversation {
    let text = std::fs::read_to_string(file).expect("a recording");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn fill_in(text: &str, saved: &BTreeMap<String, String>) -> String {
    saved.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), value)
    })
}

/// Puts one request, and keeps what later ones refer to.
async fn put(callers: &Callers, step: &Step, saved: &mut BTreeMap<String, String>) -> (u16, Value) {
    let mut tries = 0;
    loop {
        let answer = put_once(callers, step, saved).await;
        let body = body_of(step, &answer);
        tries += 1;
        if step.until.is_none_or(|code| code == answer.code) || tries > 100 {
            for (name, pointer) in &step.save {
                let value = body
                    .pointer(pointer)
                    .unwrap_or_else(|| panic!("{}: no {pointer} in {body}", step.request));
                saved.insert(
                    name.clone(),
                    value.as_str().map_or_else(|| value.to_string(), str::to_owned),
                );
            }
            return (answer.code, body);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn put_once(callers: &Callers, step: &Step, saved: &BTreeMap<String, String>) -> Answer {
    let request = fill_in(&step.request, saved);
    let (method, path) = request.split_once(' ').expect("a method and a path");
    let authorization = format!("Bearer {}", step.r#as);
    let mut headers: Vec<(&str, &str)> = step
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().expect("a header")))
        .collect();
    let caller = match step.r#as.as_str() {
        "node" => &callers.node,
        "admin" => &callers.admin,
        "anonymous" => &callers.anonymous,
        _ => {
            headers.push(("Authorization", &authorization));
            &callers.anonymous
        }
    };
    let body = match &step.body {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    if !body.is_empty() && !step.headers.contains_key("Content-Type") {
        headers.push(("Content-Type", "application/json"));
    }
    let body = fill_in(&body, saved);
    caller
        .send(method, path, &headers, body.as_bytes())
        .await
        .unwrap_or_else(|| panic!("{request}: no answer"))
}

fn body_of(step: &Step, answer: &Answer) -> Value {
    if step.request.contains("watch=") && answer.code == 200 {
        return answer.events().into();
    }
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|_| String::from_utf8_lossy(&answer.body).into_owned().into())
}

/// Finds where two bodies differ in shape.
struct Comparison<'a> {
    step: &'a Step,
    differences: Vec<String>,
}

impl Comparison<'_> {
    fn compare(&mut self, path: &str, expected: &Value, found: &Value) {
        if NEVER_COMPARED.contains(&path) || self.step.ignore.iter().any(|ignored| ignored == path) {
            return;
        }
        match (expected, found) {
            (Value::Object(expected), Value::Object(found)) => {
                let names: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
                for name in names {
                    let path = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}.{name}")
                    };
                    match (expected.get(name), found.get(name)) {
                        (Some(expected), Some(found)) => self.compare(&path, expected, found),
                        (Some(expected), None) => {
                            self.differ(&path, &format!("the real server has {expected}, we nothing"))
                        }
                        (None, Some(found)) => {
                            self.differ(&path, &format!("the real server has nothing, we {found}"))
                        }
                        (None, None) => {}
                    }
                }
            }
            (Value::Array(expected), Value::Array(found)) if self.step.subset.iter().any(|of| of == path) => {
                for element in found {
                    match expected.iter().find(|of| of["name"] == element["name"]) {
                        Some(expected) => self.compare(path, expected, element),
                        None => self.differ(path, &format!("the real server has no {}", element["name"])),
                    }
                }
            }
            (Value::Array(expected), Value::Array(found)) => {
                if expected.len() != found.len() {
                    self.differ(path, &format!("the real server has {expected:?}, we {found:?}"));
                }
                for (expected, found) in expected.iter().zip(found) {
                    self.compare(path, expected, found);
                }
            }
            _ => {
                let same_type = std::mem::discriminant(expected) == std::mem::discriminant(found);
                // What programs compare must be the same; what people read, and what is drawn or measured, must be there.
                let name = path.rsplit('.').next().unwrap_or(path);
                let exact = matches!(
                    name,
                    "kind"
                        | "apiVersion"
                        | "reason"
                        | "status"
                        | "phase"
                        | "qosClass"
                        | "name"
                        | "namespace"
                        | "group"
                        | "field"
                        | "type"
                        | "operator"
                        | "key"
                        | "effect"
                        | "deletionGracePeriodSeconds"
                        | "nodeName"
                        | "generation"
                        | "namespaced"
                        | "singularName"
                        | "priority"
                        | "format"
                ) && !expected
                    .as_str()
                    .is_some_and(|text| text.starts_with("kube-api-access-"));
                if !same_type || exact && expected != found {
                    self.differ(path, &format!("the real server has {expected}, we {found}"));
                }
            }
        }
    }

    fn differ(&mut self, path: &str, how: &str) {
        if NEVER_COMPARED.contains(&path) || self.step.ignore.iter().any(|ignored| ignored == path) {
            return;
        }
        self.differences.push(format!("  {path}: {how}"));
    }
}

#[test]
fn answers_have_the_shape_of_the_real_ones() {
    let mut report = String::new();
    let files = files();
    assert!(!files.is_empty());
    for file in files {
        let conversation = read(&file);
        common::run(async {
            // Not where the requests are, so that roles have to be made as on the real one.
            let options = HostOptions {
                cluster: picolet_devcluster::Options {
                    config_namespace: "elsewhere".into(),
                    ..Default::default()
                },
                ..HostOptions::default()
            };
            let cluster = DevCluster::start(options).await.expect("a cluster");
            let callers = Callers {
                node: Caller::node(&cluster, NODE),
                admin: Caller::admin(&cluster),
                anonymous: Caller::of(&cluster, None),
            };
            let mut saved = BTreeMap::new();
            for step in &conversation.steps {
                assert_ne!(
                    step.code,
                    0,
                    "{}: {} was never recorded",
                    file.display(),
                    step.request
                );
                let (code, found) = put(&callers, step, &mut saved).await;
                let mut comparison = Comparison {
                    step,
                    differences: Vec::new(),
                };
                if code != step.code {
                    comparison.differences.push(format!(
                        "  the real server answered {}, we {code}: {found}",
                        step.code
                    ));
                }
                comparison.compare("", &step.answer, &found);
                if !comparison.differences.is_empty() {
                    let of = file.file_name().unwrap_or_default().to_string_lossy();
                    report.push_str(&format!(
                        "{of}: {} as {}\n{}\n",
                        step.request,
                        step.r#as,
                        comparison.differences.join("\n")
                    ));
                }
            }
        });
    }
    assert!(report.is_empty(), "\n{report}");
}

/// Makes the answers anew.
#[test]
#[ignore = "records; run it by hand when a request or the Kubernetes version changes"]
fn record() {
    let binaries = match Binaries::build() {
        Ok(binaries) => binaries,
        Err(error) => return picolet_oracle::not_run(&error.to_string()),
    };
    let directory = std::env::temp_dir().join(format!("picolet-record-{}", std::process::id()));
    for file in files() {
        let plane = ControlPlane::start(
            &binaries,
            &Options {
                directory: directory.clone(),
                place: Place::Loopback,
            },
        )
        .expect("a control plane");
        let mut conversation = read(&file);
        let root = std::fs::read(plane.pki().certificate_authority()).expect("the authority");
        let root = picolet_tls::x509::certificates_from_pem(&root)
            .expect("a certificate")
            .remove(0);
        let address = plane
            .server_url()
            .trim_start_matches("https://")
            .parse()
            .expect("an address");
        let texts = |identity: &picolet_controlplane::Identity| {
            let read = |path: &Path| std::fs::read_to_string(path).expect("a file");
            (read(&identity.certificate), read(&identity.key))
        };
        let node = texts(&plane.node(NODE, &[]).expect("a node").client);
        let subject = Subject {
            common_name: "kubernetes-admin",
            organization: Some("system:masters"),
        };
        let admin = texts(
            &plane
                .pki()
                .client("recorder", subject, Validity::default())
                .expect("an administrator"),
        );
        let callers = Callers {
            node: Caller::new(address, root.clone(), Some((&node.0, &node.1))),
            admin: Caller::new(address, root.clone(), Some((&admin.0, &admin.1))),
            anonymous: Caller::new(address, root, None),
        };
        common::run(async {
            let mut saved = BTreeMap::new();
            for step in &mut conversation.steps {
                let (code, body) = put(&callers, step, &mut saved).await;
                (step.code, step.answer) = (code, without_managers(body));
            }
        });
        let text = serde_json::to_string_pretty(&conversation).expect("JSON");
        std::fs::write(&file, format!("{text}\n")).expect("the recording is written");
    }
}

/// Leaves out what is long and never compared.
fn without_managers(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            map.remove("managedFields");
            map.values_mut()
                .for_each(|value| *value = without_managers(value.take()));
        }
        Value::Array(list) => list
            .iter_mut()
            .for_each(|value| *value = without_managers(value.take())),
        _ => {}
    }
    value
}
