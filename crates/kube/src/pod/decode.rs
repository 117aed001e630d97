//! How a Pod is read.

use super::{
    CONDITIONS, CONTAINERS, Container, KnownEnd, KnownState, KnownStatus, Phase, Pod, PullPolicy, Requests,
    RestartPolicy,
};
use crate::envelope::Object;
use crate::json::{Code, Field, Shape, Sink, fields, shape};
use crate::metadata::{self, GENERATION, MIRROR, Metadata, OS_LABEL};
use crate::selector::{Expression, Operator, Term, Toleration};
use crate::status::{CODE_ENTRY, MESSAGE_ENTRY, REASON_ENTRY};
use crate::text::{integer, keep, set, whole};
use crate::{Collector, Quantity, Timestamp};
use alloc::boxed::Box;
use alloc::vec::Vec;

fields![
    NODE_NAME,
    OS,
    RESTART_POLICY,
    GRACE,
    DEADLINE,
    NODE_SELECTOR,
    AFFINITY,
    TERM,
    LABEL_EXPRESSION,
    FIELD_EXPRESSION,
    EXPRESSION_KEY,
    EXPRESSION_OPERATOR,
    EXPRESSION_VALUE,
    TOLERATION,
    TOLERATION_KEY,
    TOLERATION_OPERATOR,
    TOLERATION_VALUE,
    TOLERATION_EFFECT,
    INIT_CONTAINER,
    CONTAINER,
    CONTAINER_NAME,
    CONTAINER_IMAGE,
    CONTAINER_REQUESTS,
    POD_REQUESTS,
    OVERHEAD,
    VOLUME,
    VOLUME_NAME,
    VOLUME_PROJECTED,
    PHASE,
    START_TIME,
    SUPPLEMENTAL_GROUPS,
    PULL_POLICY,
    CONDITION,
    CONDITION_TYPE,
    CONDITION_STATUS,
    CONDITION_TRANSITION,
    STATUS,
    STATUS_NAME,
    RESTART_COUNT,
    RUNNING,
    RUNNING_SINCE,
    TERMINATED,
    LAST_TERMINATED,
    EXIT_CODE,
    EXIT_REASON,
    STARTED,
    FINISHED,
];

/// Features from here on: what no picolet does. The name is told when the group is there, or the value is `true` or a
/// port other than 0.
const FEATURE: u8 = 128;
const FEATURES: [&str; 15] = [
    "spec.hostNetwork",
    "spec.hostPID",
    "spec.hostIPC",
    "spec.ephemeralContainers",
    "spec.resourceClaims",
    "spec.containers[].ports[].hostPort",
    "spec.containers[].lifecycle",
    "spec.containers[].securityContext.privileged",
    "spec.containers[].livenessProbe, readinessProbe or startupProbe",
    "spec.containers[].volumeDevices",
    "spec.initContainers[].restartPolicy",
    "spec.volumes other than the service account's token",
    "a spec of more containers, tolerations or selectors than a device of this size keeps",
    "spec.containers[].stdin",
    "spec.containers[].tty",
];
const TOO_MUCH: usize = 12;
const VOLUMES: usize = 11;

const fn feature(index: u8) -> Shape {
    Shape::Value(Field(FEATURE + index))
}

const ANYTHING: Shape = Shape::Object(&[]);

const EXPRESSION: Shape = Shape::Object(&[
    ("key", Shape::Value(EXPRESSION_KEY)),
    ("operator", Shape::Value(EXPRESSION_OPERATOR)),
    ("values", Shape::List(&Shape::Value(EXPRESSION_VALUE))),
]);

/// No worker runs probes: a pod that relies on them is better told so.
const PROBE: Shape = Shape::Group(Field(FEATURE + 8), &ANYTHING);

macro_rules! container {
    ($($extra:expr),*) => {
        Shape::Object(&[
            ("name", Shape::Value(CONTAINER_NAME)),
            ("image", Shape::Value(CONTAINER_IMAGE)),
            ("imagePullPolicy", Shape::Value(PULL_POLICY)),
            ("resources", Shape::Object(&[("requests", Shape::Map(CONTAINER_REQUESTS))])),
            ("ports", Shape::List(&Shape::Object(&[("hostPort", feature(5))]))),
            ("lifecycle", Shape::Group(Field(FEATURE + 6), &ANYTHING)),
            ("securityContext", Shape::Object(&[("privileged", feature(7))])),
            ("livenessProbe", PROBE),
            ("readinessProbe", PROBE),
            ("startupProbe", PROBE),
            ("volumeDevices", Shape::List(&Shape::Group(Field(FEATURE + 9), &ANYTHING))),
            ("stdin", feature(13)),
            ("tty", feature(14)),
            $($extra),*
        ])
    };
}

const SPEC: Shape = Shape::Object(&[
    ("nodeName", Shape::Value(NODE_NAME)),
    ("os", Shape::Object(&[("name", Shape::Value(OS))])),
    ("restartPolicy", Shape::Value(RESTART_POLICY)),
    ("terminationGracePeriodSeconds", Shape::Value(GRACE)),
    ("activeDeadlineSeconds", Shape::Value(DEADLINE)),
    ("nodeSelector", Shape::Map(NODE_SELECTOR)),
    (
        "affinity",
        Shape::Object(&[(
            "nodeAffinity",
            Shape::Object(&[(
                "requiredDuringSchedulingIgnoredDuringExecution",
                Shape::Group(
                    AFFINITY,
                    &Shape::Object(&[(
                        "nodeSelectorTerms",
                        Shape::List(&Shape::Group(
                            TERM,
                            &Shape::Object(&[
                                (
                                    "matchExpressions",
                                    Shape::List(&Shape::Group(LABEL_EXPRESSION, &EXPRESSION)),
                                ),
                                (
                                    "matchFields",
                                    Shape::List(&Shape::Group(FIELD_EXPRESSION, &EXPRESSION)),
                                ),
                            ]),
                        )),
                    )]),
                ),
            )]),
        )]),
    ),
    (
        "tolerations",
        Shape::List(&Shape::Group(
            TOLERATION,
            &Shape::Object(&[
                ("key", Shape::Value(TOLERATION_KEY)),
                ("operator", Shape::Value(TOLERATION_OPERATOR)),
                ("value", Shape::Value(TOLERATION_VALUE)),
                ("effect", Shape::Value(TOLERATION_EFFECT)),
            ]),
        )),
    ),
    (
        "initContainers",
        Shape::List(&Shape::Group(
            INIT_CONTAINER,
            &container!(("restartPolicy", Shape::Value(Field(FEATURE + 10)))),
        )),
    ),
    ("containers", Shape::List(&Shape::Group(CONTAINER, &container!()))),
    (
        "resources",
        Shape::Object(&[("requests", Shape::Map(POD_REQUESTS))]),
    ),
    ("overhead", Shape::Map(OVERHEAD)),
    (
        "volumes",
        Shape::List(&Shape::Group(
            VOLUME,
            &Shape::Object(&[
                ("name", Shape::Value(VOLUME_NAME)),
                ("projected", Shape::Group(VOLUME_PROJECTED, &ANYTHING)),
            ]),
        )),
    ),
    (
        "securityContext",
        Shape::Object(&[("supplementalGroupsPolicy", Shape::Value(SUPPLEMENTAL_GROUPS))]),
    ),
    ("hostNetwork", feature(0)),
    ("hostPID", feature(1)),
    ("hostIPC", feature(2)),
    (
        "ephemeralContainers",
        Shape::List(&Shape::Group(Field(FEATURE + 3), &ANYTHING)),
    ),
    (
        "resourceClaims",
        Shape::List(&Shape::Group(Field(FEATURE + 4), &ANYTHING)),
    ),
]);

const END: Shape = Shape::Object(&[
    ("exitCode", Shape::Value(EXIT_CODE)),
    ("reason", Shape::Value(EXIT_REASON)),
    ("startedAt", Shape::Value(STARTED)),
    ("finishedAt", Shape::Value(FINISHED)),
]);

const STATUSES: Shape = Shape::List(&Shape::Group(
    STATUS,
    &Shape::Object(&[
        ("name", Shape::Value(STATUS_NAME)),
        ("restartCount", Shape::Value(RESTART_COUNT)),
        (
            "state",
            Shape::Object(&[
                (
                    "running",
                    Shape::Group(
                        RUNNING,
                        &Shape::Object(&[("startedAt", Shape::Value(RUNNING_SINCE))]),
                    ),
                ),
                ("terminated", Shape::Group(TERMINATED, &END)),
            ]),
        ),
        (
            "lastState",
            Shape::Object(&[("terminated", Shape::Group(LAST_TERMINATED, &END))]),
        ),
    ]),
));

/// Reads Pods, one after another.
#[derive(Default)]
pub struct PodReader {
    /// The one that was read.
    pub pod: Pod,
    /// The key of the map entry that comes next.
    key: Box<str>,
    /// Where containers go that come now.
    init: bool,
    volume_projected: bool,
    volume_is_token: bool,
    condition: Condition,
    /// An end comes that is older than the one that is kept.
    older_end: bool,
    collector: Collector,
}

/// The condition that is being read.
#[derive(Default)]
struct Condition {
    /// Its place in [`CONDITIONS`].
    index: Option<usize>,
    holds: bool,
    since: Timestamp,
}

/// Appends unless there are `most` already; returns whether it did.
fn append<T>(list: &mut Vec<T>, most: usize, item: T) -> bool {
    let room = list.len() < most;
    if room {
        list.push(item);
    }
    room
}

impl PodReader {
    fn refuse(&mut self, feature: usize) {
        self.pod.unsupported = self.pod.unsupported.or(FEATURES.get(feature).copied());
    }

    fn append_or_refuse(&mut self, appended: bool) {
        if !appended {
            self.refuse(TOO_MUCH);
        }
    }

    fn container(&mut self) -> Option<&mut Container> {
        if self.init {
            self.pod.init_containers.last_mut()
        } else {
            self.pod.containers.last_mut()
        }
    }

    fn expression(&mut self) -> Option<&mut Expression> {
        self.pod
            .node_affinity
            .as_mut()?
            .last_mut()?
            .expressions
            .last_mut()
    }

    fn keep_request(&mut self, field: Field, amount: Option<&str>) {
        let key = core::mem::take(&mut self.key);
        let requests = match field {
            POD_REQUESTS => Some(&mut self.pod.requests),
            OVERHEAD => Some(&mut self.pod.overhead),
            _ => self.container().map(|container| &mut container.requests),
        };
        let amount = amount.and_then(|text| Quantity::parse(text).ok());
        let kept = match (requests, amount) {
            (Some(Requests(list)), Some(amount)) => append(list, 16, (key, amount)),
            _ => false,
        };
        self.append_or_refuse(kept);
    }

    fn value(&mut self, field: Field, value: Option<&str>) {
        if self.pod.metadata.value(field, value) {
            return;
        }
        match field {
            MIRROR => self.pod.mirror = Some(keep(value)),
            OS_LABEL => set(&mut self.pod.os_label, value),
            GENERATION => {
                self.pod.generation = value
                    .and_then(|text| integer(text, 10))
                    .and_then(|count| u64::try_from(count).ok())
                    .unwrap_or(0)
            }
            NODE_NAME => set(&mut self.pod.node_name, value),
            OS => set(&mut self.pod.os, value),
            RESTART_POLICY => {
                self.pod.restart_policy = match value {
                    Some("Never") => RestartPolicy::Never,
                    Some("OnFailure") => RestartPolicy::OnFailure,
                    _ => RestartPolicy::Always,
                };
            }
            GRACE => self.pod.termination_grace_seconds = whole(value),
            DEADLINE => self.pod.active_deadline_seconds = whole(value),
            NODE_SELECTOR => {
                let entry = (core::mem::take(&mut self.key), keep(value));
                let kept = append(&mut self.pod.node_selector, 16, entry);
                self.append_or_refuse(kept);
            }
            EXPRESSION_KEY => {
                if let Some(expression) = self.expression() {
                    set(&mut expression.key, value);
                }
            }
            EXPRESSION_OPERATOR => {
                if let Some(expression) = self.expression() {
                    expression.operator = Operator::parse(value.unwrap_or_default());
                }
            }
            EXPRESSION_VALUE => {
                let kept = self
                    .expression()
                    .is_none_or(|e| append(&mut e.values, 16, keep(value)));
                self.append_or_refuse(kept);
            }
            TOLERATION_KEY | TOLERATION_OPERATOR | TOLERATION_VALUE | TOLERATION_EFFECT => {
                if let Some(toleration) = self.pod.tolerations.last_mut() {
                    match field {
                        TOLERATION_KEY => set(&mut toleration.key, value),
                        TOLERATION_OPERATOR => toleration.exists = value == Some("Exists"),
                        TOLERATION_VALUE => set(&mut toleration.value, value),
                        _ => set(&mut toleration.effect, value),
                    }
                }
            }
            CONTAINER_NAME => {
                if let Some(container) = self.container() {
                    set(&mut container.name, value);
                }
            }
            CONTAINER_IMAGE => {
                if let Some(container) = self.container() {
                    set(&mut container.image, value);
                }
            }
            PULL_POLICY => {
                if let Some(container) = self.container() {
                    container.pull_policy = match value {
                        Some("Always") => PullPolicy::Always,
                        Some("Never") => PullPolicy::Never,
                        _ => PullPolicy::IfNotPresent,
                    };
                }
            }
            SUPPLEMENTAL_GROUPS => self.pod.strict_supplemental_groups = value == Some("Strict"),
            CONTAINER_REQUESTS | POD_REQUESTS | OVERHEAD => self.keep_request(field, value),
            VOLUME_NAME => {
                self.volume_is_token = value.is_some_and(|name| name.starts_with("kube-api-access-"));
            }
            PHASE => {
                self.pod.phase = match value {
                    Some("Running") => Phase::Running,
                    Some("Succeeded") => Phase::Succeeded,
                    Some("Failed") => Phase::Failed,
                    _ => Phase::Pending,
                };
            }
            START_TIME => self.pod.start_time = value.and_then(Timestamp::parse),
            CONDITION_TYPE => {
                self.condition.index = CONDITIONS.iter().position(|kind| Some(*kind) == value);
            }
            CONDITION_STATUS => self.condition.holds = value == Some("True"),
            CONDITION_TRANSITION => {
                self.condition.since = value.and_then(Timestamp::parse).unwrap_or_default();
            }
            STATUS_NAME | RESTART_COUNT | RUNNING_SINCE | EXIT_CODE | EXIT_REASON | STARTED | FINISHED => {
                if let Some(status) = self.pod.statuses.last_mut() {
                    status_value(status, self.older_end, field, value);
                }
            }
            Field(number) if number >= FEATURE && !matches!(value, Some("false" | "0" | "")) => {
                self.refuse(usize::from(number - FEATURE));
            }
            _ => {}
        }
    }
}

/// Takes a field of a container's status.
#[inline(never)]
fn status_value(status: &mut KnownStatus, older_end: bool, field: Field, value: Option<&str>) {
    let time = || value.and_then(Timestamp::parse);
    match (field, &mut status.ended) {
        (STATUS_NAME, _) => set(&mut status.name, value),
        (RESTART_COUNT, _) => status.restart_count = whole(value).unwrap_or(0),
        (RUNNING_SINCE, _) => status.state = KnownState::Running(time().unwrap_or_default()),
        (EXIT_CODE, Some(end)) if !older_end => {
            // What is no exit code is no success either.
            end.exit_code = value
                .and_then(|text| integer(text, 10))
                .and_then(|code| i32::try_from(code).ok())
                .unwrap_or(-1);
        }
        (EXIT_REASON, Some(end)) if !older_end => set(&mut end.reason, value),
        (STARTED, Some(end)) if !older_end => end.started = time(),
        (FINISHED, Some(end)) if !older_end => end.finished = time(),
        _ => {}
    }
}

impl Sink for PodReader {
    fn enter(&mut self, field: Field) {
        let kept = match field {
            AFFINITY => {
                self.pod.node_affinity = Some(Vec::new());
                true
            }
            TERM => self
                .pod
                .node_affinity
                .as_mut()
                .is_none_or(|terms| append(terms, 8, Term::default())),
            LABEL_EXPRESSION | FIELD_EXPRESSION => {
                let expression = Expression {
                    on_field: field == FIELD_EXPRESSION,
                    ..Expression::default()
                };
                let term = self.pod.node_affinity.as_mut().and_then(|terms| terms.last_mut());
                term.is_none_or(|term| append(&mut term.expressions, 8, expression))
            }
            TOLERATION => append(&mut self.pod.tolerations, 32, Toleration::default()),
            INIT_CONTAINER | CONTAINER => {
                self.init = field == INIT_CONTAINER;
                let list = if self.init {
                    &mut self.pod.init_containers
                } else {
                    &mut self.pod.containers
                };
                append(list, CONTAINERS, Container::default())
            }
            VOLUME => {
                self.volume_projected = false;
                self.volume_is_token = false;
                true
            }
            VOLUME_PROJECTED => {
                self.volume_projected = true;
                true
            }
            CONDITION => {
                self.condition = Condition::default();
                true
            }
            STATUS => {
                // One more than there are containers is of no container.
                append(&mut self.pod.statuses, 2 * CONTAINERS, KnownStatus::default());
                true
            }
            RUNNING | TERMINATED | LAST_TERMINATED => {
                if let Some(status) = self.pod.statuses.last_mut() {
                    match field {
                        RUNNING => status.state = KnownState::Running(Timestamp::default()),
                        TERMINATED => status.state = KnownState::Terminated,
                        _ => {}
                    }
                    self.older_end = field == LAST_TERMINATED && status.state == KnownState::Terminated;
                    if field != RUNNING && !self.older_end {
                        status.ended = Some(KnownEnd::default());
                    }
                }
                true
            }
            Field(number) if number >= FEATURE => {
                self.refuse(usize::from(number - FEATURE));
                true
            }
            _ => true,
        };
        self.append_or_refuse(kept);
    }

    fn leave(&mut self, field: Field) {
        if field == VOLUME && !(self.volume_projected && self.volume_is_token) {
            self.refuse(VOLUMES);
        }
        if let (CONDITION, Some(index)) = (field, self.condition.index) {
            self.pod.conditions[index] = Some((self.condition.holds, self.condition.since));
        }
    }

    fn key(&mut self, _field: Field, key: &str) {
        self.key = key.into();
    }

    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        let mut collector = core::mem::take(&mut self.collector);
        if let Some(value) = collector.push(piece, last) {
            self.value(field, value);
        }
        self.collector = collector;
    }
}

impl Object for PodReader {
    const SHAPE: Code = shape!(Shape::Object(&[
        ("metadata", metadata::SHAPE_OF_POD),
        ("spec", SPEC),
        (
            "status",
            Shape::Object(&[
                ("phase", Shape::Value(PHASE)),
                ("startTime", Shape::Value(START_TIME)),
                (
                    "conditions",
                    Shape::List(&Shape::Group(
                        CONDITION,
                        &Shape::Object(&[
                            ("type", Shape::Value(CONDITION_TYPE)),
                            ("status", Shape::Value(CONDITION_STATUS)),
                            ("lastTransitionTime", Shape::Value(CONDITION_TRANSITION)),
                        ]),
                    )),
                ),
                ("initContainerStatuses", STATUSES),
                ("containerStatuses", STATUSES),
            ]),
        ),
        CODE_ENTRY,
        REASON_ENTRY,
        MESSAGE_ENTRY,
    ]));

    fn metadata(&self) -> &Metadata {
        &self.pod.metadata
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}
