//! What goes wrong on demand.
//!
//! A fault is a rule: the requests that it meets, how often, and what happens to them. Rules are tried in order and the
//! first that fits counts. Besides, a share of all requests and events can be hit at random, by a seed.
//!
//! Members of `system:masters` are spared unless a rule names them, so that a test or a person can look at the cluster
//! while its nodes suffer.

use crate::identity::Identity;
use serde::{Deserialize, Serialize};

/// What a restart of the server loses. All connections are cut by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Restart {
    /// The history of changes: a watch from before gets 410.
    History,
    /// Every object too, as if the cluster had been made anew behind the same address.
    Objects,
}

/// What happens to a request, or to a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum FaultKind {
    /// It is refused with this code and not carried out.
    Status {
        /// The HTTP status: 401, 403, 409, 410, 429, or any other from 400 on.
        code: u16,
        /// Seconds for `Retry-After`; with 429 one second if nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u32>,
    },
    /// It is carried out as always, after a wait.
    Slow {
        /// How long, in milliseconds.
        milliseconds: u32,
    },
    /// It is never answered; the connection stays open.
    Hang,
    /// The connection is closed, the request is not carried out.
    Cut,
    /// The request is carried out, then the connection is closed without an answer.
    LoseAnswer,
    /// The request is carried out, then the connection is closed in the middle of the answer.
    CutMidAnswer,
    /// A watch is closed in the middle of its next event.
    CutMidEvent,
    /// A watch gets an `ERROR` event with 410 in place of its next event.
    ExpireWatch,
    /// The server starts again just as the request arrives.
    Restart {
        /// What is lost by it.
        lose: Restart,
    },
}

impl FaultKind {
    fn is_of_watch(&self) -> bool {
        matches!(self, Self::CutMidEvent | Self::ExpireWatch)
    }
}

/// A rule: which requests, how often, and what happens to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// The verb in the sense of RBAC: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`. Any, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// The resource, with its subresource: `leases`, `nodes/status`. Any, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The name of the object. Any, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The user that asks, such as `system:node:pico-1`. Anybody but administrators, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How many requests are let pass before the first is hit.
    #[serde(default)]
    pub after: u32,
    /// How many requests are hit, then the rule is gone. Every one, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

impl Fault {
    /// A rule that hits every request.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            verb: None,
            resource: None,
            name: None,
            user: None,
            after: 0,
            times: None,
        }
    }

    /// A rule that refuses every request with `code`.
    pub fn status(code: u16) -> Self {
        Self::new(FaultKind::Status {
            code,
            retry_after: None,
        })
    }

    /// Narrows the rule to a verb and a resource.
    #[must_use]
    pub fn on(mut self, verb: &str, resource: &str) -> Self {
        self.verb = Some(verb.into());
        self.resource = Some(resource.into());
        self
    }

    /// Narrows the rule to a user.
    #[must_use]
    pub fn by(mut self, user: &str) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Limits how many requests are hit.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn meets(&self, request: &Facts<'_>) -> bool {
        let fits =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let user = match &self.user {
            Some(user) => *user == request.identity.user,
            None => !request.identity.is_in("system:masters"),
        };
        user && fits(&self.verb, request.verb)
            && fits(&self.resource, request.resource)
            && fits(&self.name, request.name)
    }
}

/// A share of everything goes wrong, in some way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RandomFaults {
    /// How many of a thousand requests, and of a thousand watch events.
    pub per_thousand: u32,
    /// The same seed and the same requests give the same faults.
    pub seed: u64,
}

/// What a rule may look at.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) verb: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) name: &'a str,
    pub(crate) identity: &'a Identity,
}

/// When a fault may strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A request has been read.
    Request,
    /// An event is about to be sent on a watch.
    Event,
}

/// The faults that are in force.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<Fault>,
    random: Option<(RandomFaults, fastrand::Rng)>,
    /// Seconds by which the `Date` header is off.
    pub(crate) clock_skew: i64,
    struck: u64,
}

impl Faults {
    /// Adds a rule behind those that are there.
    pub fn add(&mut self, fault: Fault) {
        self.rules.push(fault);
    }

    /// Lets a share of everything fail at random, or ends that.
    pub fn set_random(&mut self, random: Option<RandomFaults>) {
        self.random = random.map(|random| (random, fastrand::Rng::with_seed(random.seed)));
    }

    /// Sets how many seconds the `Date` header is ahead of the cluster's clock; negative: behind.
    pub fn set_clock_skew(&mut self, seconds: i64) {
        self.clock_skew = seconds;
    }

    /// Seconds by which the `Date` header is ahead of the cluster's clock; negative: behind.
    pub fn clock_skew(&self) -> i64 {
        self.clock_skew
    }

    /// Ends every fault.
    pub fn clear(&mut self) {
        *self = Self {
            struck: self.struck,
            ..Self::default()
        };
    }

    /// The rules that are still in force.
    pub fn rules(&self) -> &[Fault] {
        &self.rules
    }

    /// How often a fault struck so far.
    pub fn struck(&self) -> u64 {
        self.struck
    }

    pub(crate) fn random(&self) -> Option<RandomFaults> {
        self.random.as_ref().map(|(random, _)| *random)
    }

    /// Returns what happens to a request or an event, if anything does.
    pub(crate) fn strike(&mut self, stage: Stage, request: &Facts<'_>) -> Option<FaultKind> {
        let of_watch = stage == Stage::Event;
        let mut kind = None;
        for place in 0..self.rules.len() {
            let rule = &mut self.rules[place];
            if rule.kind.is_of_watch() != of_watch || !rule.meets(request) {
                continue;
            }
            if rule.after > 0 {
                rule.after -= 1;
                continue;
            }
            kind = Some(rule.kind.clone());
            if let Some(times) = &mut rule.times {
                *times = times.saturating_sub(1);
                if *times == 0 {
                    self.rules.remove(place);
                }
            }
            break;
        }
        let kind = kind.or_else(|| self.roll(stage, request));
        self.struck += u64::from(kind.is_some());
        kind
    }

    fn roll(&mut self, stage: Stage, request: &Facts<'_>) -> Option<FaultKind> {
        let (random, dice) = self.random.as_mut()?;
        if request.identity.is_in("system:masters") || dice.u32(0..1000) >= random.per_thousand {
            return None;
        }
        if stage == Stage::Event {
            return Some(if dice.bool() {
                FaultKind::CutMidEvent
            } else {
                FaultKind::ExpireWatch
            });
        }
        let refused = |code| FaultKind::Status {
            code,
            retry_after: (code == 429).then_some(1),
        };
        Some(match dice.u32(0..12) {
            0 => refused(401),
            1 => refused(403),
            2 => refused(409),
            3 => refused(410),
            4 => refused(429),
            5 => refused(500),
            6 => refused(503),
            7 => FaultKind::Slow {
                milliseconds: dice.u32(10..2000),
            },
            8 => FaultKind::Cut,
            9 => FaultKind::LoseAnswer,
            10 => FaultKind::CutMidAnswer,
            _ => FaultKind::Restart {
                lose: Restart::History,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_counts_what_it_meets() {
        let node = Identity::node("n");
        let lease = Facts {
            verb: "update",
            resource: "leases",
            name: "n",
            identity: &node,
        };
        let mut faults = Faults::default();
        let mut rule = Fault::status(409).on("update", "leases").times(2);
        rule.after = 1;
        faults.add(rule);
        assert_eq!(
            faults.strike(
                Stage::Request,
                &Facts {
                    resource: "pods",
                    ..lease
                }
            ),
            None
        );
        assert_eq!(faults.strike(Stage::Request, &lease), None);
        for _ in 0..2 {
            assert!(matches!(
                faults.strike(Stage::Request, &lease),
                Some(FaultKind::Status { code: 409, .. })
            ));
        }
        assert_eq!(faults.strike(Stage::Request, &lease), None);
        assert_eq!((faults.struck(), faults.rules().len()), (2, 0));
    }

    #[test]
    fn administrators_are_spared_and_watches_have_their_own() {
        let (node, admin) = (Identity::node("n"), Identity::admin());
        let watch = Facts {
            verb: "watch",
            resource: "pods",
            name: "",
            identity: &node,
        };
        let mut faults = Faults::default();
        faults.add(Fault::new(FaultKind::CutMidEvent));
        assert_eq!(faults.strike(Stage::Request, &watch), None);
        assert_eq!(
            faults.strike(
                Stage::Event,
                &Facts {
                    identity: &admin,
                    ..watch
                }
            ),
            None
        );
        assert_eq!(faults.strike(Stage::Event, &watch), Some(FaultKind::CutMidEvent));
    }

    #[test]
    fn the_same_seed_strikes_the_same() {
        let node = Identity::node("n");
        let request = Facts {
            verb: "get",
            resource: "nodes",
            name: "n",
            identity: &node,
        };
        let run = |seed| {
            let mut faults = Faults::default();
            faults.set_random(Some(RandomFaults {
                per_thousand: 200,
                seed,
            }));
            (0..500)
                .map(|_| faults.strike(Stage::Request, &request))
                .collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let hit = run(7).iter().flatten().count();
        assert!((50..150).contains(&hit), "{hit} of 500");
    }

    #[test]
    fn a_rule_reads_like_a_sentence() {
        let text = r#"{"kind":{"status":{"code":429,"retryAfter":2}},"verb":"patch","resource":"nodes/status","times":3}"#;
        let rule: Fault = serde_json::from_str(text).expect("a rule");
        assert_eq!(
            rule.kind,
            FaultKind::Status {
                code: 429,
                retry_after: Some(2)
            }
        );
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"cut","verbs":"x"}"#).is_err());
        assert!(serde_json::from_str::<Fault>(r#"{"kind":{"restart":{"lose":"history"}}}"#).is_ok());
    }
}
