//! The pod that stands for the node itself.

use super::world::World;
use crate::client::ApiError;
use crate::pods::own::{Own, Reset};
use crate::pods::report::Owed;
use crate::pods::run::Moment;
use crate::pods::table::{Pods, Site};
use alloc::boxed::Box;
use picolet_kube::envelope::Single;
use picolet_kube::json::Writer;
use picolet_kube::metadata::Metadata;
use picolet_kube::pod::{Pod, PodReader};
use picolet_kube::status::Status;
use picolet_platform::{Duration, ResetReason};
use std::string::{String, ToString};

/// An API server that has this one pod, or none.
struct Api {
    world: World,
    pods: Pods,
    mirror: Option<Pod>,
    made: u32,
}

fn read(body: &str) -> Pod {
    let mut single = Single::<PodReader>::default();
    single.feed(body.as_bytes()).expect("JSON");
    single.finish().expect("whole").pod
}

impl Api {
    fn new() -> Self {
        Self {
            world: World::new(),
            pods: Pods::default(),
            mirror: None,
            made: 0,
        }
    }

    /// The node starts, for that reason, with that firmware, and reads the list.
    fn boot(&mut self, reason: ResetReason, version: &str) {
        let now = self.world.now();
        // It has just begun.
        let begun = Moment {
            up: Duration::ZERO,
            ..now
        };
        let crash: &dyn core::fmt::Display = &"panic at main.rs:7 after 9 s";
        let reset = Reset {
            reason,
            crash: (reason == ResetReason::Panic).then_some(crash),
        };
        self.pods = Pods::default();
        self.pods
            .settle("127.0.77.1".parse().expect("short"), "picolet", 4);
        self.pods
            .stand_for(Own::new("pico", std::format!("board:{version}"), &reset, begun));
        let site = Site {
            node: &self.world.node,
            node_name: "pico",
            os: "wasip1",
            allocatable: &[],
            now,
        };
        self.pods.step(&site, &self.world.runtime, &|_, _, _, _| {});
        assert!(self.pods.next_telling(now).is_err(), "before the list is read");
        self.pods.list_begins();
        self.watch();
        self.pods.list_ends(now);
    }

    fn watch(&mut self) {
        if let Some(mut mirror) = self.mirror.clone() {
            self.pods.applied(&mut mirror, self.world.now());
        }
    }

    fn gone(&mut self) {
        let last = self.mirror.take().expect("there").metadata;
        self.pods.deleted(&last, self.world.now());
    }

    /// Takes what the node tells; returns it.
    fn listen(&mut self) -> Option<(Owed, String)> {
        let now = self.world.now();
        let mut telling = self.pods.next_telling(now).ok()?;
        match telling.owed {
            Owed::Creation => {
                assert!(self.mirror.is_none());
                self.made += 1;
                self.pods.write_mirror(&mut telling.body, "uid-of-node");
                let mut mirror = read(&telling.body);
                mirror.metadata.uid = std::format!("mirror-{}", self.made).into();
                self.mirror = Some(mirror);
                self.pods.told(&telling, Ok(()), now);
                self.watch();
            }
            Owed::Status(_) => {
                let told = read(&telling.body);
                let mirror = self.mirror.as_mut().expect("there");
                assert_eq!(told.metadata.uid, mirror.metadata.uid);
                (mirror.statuses, mirror.phase) = (told.statuses, told.phase);
                for (kept, told) in mirror.conditions.iter_mut().zip(told.conditions) {
                    *kept = told.or(*kept);
                }
                self.pods.told(&telling, Ok(()), now);
                self.watch();
            }
            Owed::Deletion => {
                let uid = &self.mirror.as_ref().expect("there").metadata.uid;
                assert!(telling.body.contains(&**uid), "{}", telling.body);
                self.pods.told(&telling, Ok(()), now);
                self.gone();
            }
        }
        Some((telling.owed, telling.body))
    }

    /// Lets a minute pass; returns what was told in it, by its first letters.
    fn minute(&mut self) -> String {
        let mut told = String::new();
        for _ in 0..60 {
            while let Some((owed, _)) = self.listen() {
                told.push(match owed {
                    Owed::Creation => 'C',
                    Owed::Status(_) => 'S',
                    Owed::Deletion => 'D',
                });
                assert!(told.len() < 100, "{told}");
            }
            self.world.up += Duration::from_secs(1);
        }
        told
    }

    fn shown(&self) -> String {
        let mut out = String::new();
        self.pods.write_nth(0, true, &mut Writer::new(&mut out));
        out
    }
}

#[test]
fn it_is_made_and_runs_and_comes_back() {
    let mut api = Api::new();
    api.boot(ResetReason::PowerOn, "1");
    let (owed, body) = api.listen().expect("something");
    assert_eq!(owed, Owed::Creation);
    insta::assert_snapshot!(body);
    let (_, body) = api.listen().expect("its status");
    insta::assert_snapshot!(body);
    assert_eq!(api.minute(), "");
    assert!(
        api.shown()
            .contains(r#""name":"picolet-pico","namespace":"kube-system","uid":"mirror-1""#)
    );
    assert_eq!((api.pods.running(), api.pods.len()), (1, 0), "it takes no place");
    // Somebody deletes it: with a time of grace, then at once.
    let now = api.world.now().time;
    api.mirror.as_mut().expect("there").metadata.deletion_timestamp = Some(now);
    api.watch();
    assert_eq!(api.minute(), "DCS");
    api.gone();
    assert_eq!(api.minute(), "CS");
    // While nobody looked.
    api.mirror = None;
    api.pods.list_begins();
    api.pods.list_ends(api.world.now());
    assert_eq!(api.minute(), "CS");
    // Somebody else has said that it is not ready.
    let ready = &mut api.mirror.as_mut().expect("there").conditions[2];
    *ready = ready.map(|(_, since)| (false, since));
    api.watch();
    assert_eq!(api.minute(), "S");
}

#[test]
fn resets_are_its_restarts() {
    let mut api = Api::new();
    api.boot(ResetReason::PowerOn, "1");
    assert_eq!(api.minute(), "CS");
    api.boot(ResetReason::Panic, "1");
    assert_eq!(api.minute(), "S");
    let status = |api: &Api| api.mirror.as_ref().expect("there").statuses[0].clone();
    let first = status(&api);
    assert_eq!(first.restart_count, 1);
    let ended = first.ended.expect("a last state");
    assert_eq!((ended.exit_code, &*ended.reason), (134, "Panic"));
    assert!(ended.started < ended.finished);
    assert!(api.shown().contains("panic at main.rs:7"));
    // New firmware is another pod, which goes on counting.
    api.boot(ResetReason::Software, "2");
    assert_eq!(api.minute(), "DCS");
    let second = status(&api);
    assert_eq!(second.restart_count, 2);
    assert_eq!(&*second.ended.expect("a last state").reason, "Software");
    // Nothing is known any more, but that there was a run.
    api.mirror = None;
    api.boot(ResetReason::Watchdog, "2");
    assert_eq!(api.minute(), "CS");
    assert_eq!(status(&api).restart_count, 1);
}

#[test]
fn mirror_stays_when_admission_changes_it() {
    let mut api = Api::new();
    api.boot(ResetReason::PowerOn, "1");
    let (owed, _) = api.listen().expect("something");
    assert_eq!(owed, Owed::Creation);
    let mirror = api.mirror.as_mut().expect("there");
    mirror.containers[0].image = "mirror.example/board:1".into();
    mirror.containers.push(picolet_kube::pod::Container {
        name: "sidecar".into(),
        ..Default::default()
    });
    api.watch();
    assert_eq!(api.minute(), "S");
    // After a restart it is still the right one.
    api.boot(ResetReason::Software, "1");
    assert_eq!(api.minute(), "S");
}

#[test]
fn mirror_is_made_ever_more_rarely_when_it_does_not_stay_the_right_one() {
    for change in [(|api: &mut Api| api.gone()) as fn(&mut Api), |api| {
        api.mirror.as_mut().expect("there").mirror = Some("another".into());
        api.watch();
    }] {
        let mut api = Api::new();
        api.boot(ResetReason::PowerOn, "1");
        for _ in 0..600 {
            while let Some((owed, _)) = api.listen() {
                if owed == Owed::Creation {
                    change(&mut api);
                }
            }
            api.world.up += Duration::from_secs(1);
        }
        assert!((10..=16).contains(&api.made), "{} in ten minutes", api.made);
    }
}

#[test]
fn status_is_told_when_the_run_before_has_not_told_it() {
    let mut api = Api::new();
    api.boot(ResetReason::PowerOn, "1");
    let (owed, _) = api.listen().expect("something");
    assert_eq!(owed, Owed::Creation);
    api.boot(ResetReason::PowerOn, "1");
    assert_eq!(api.minute(), "S");
    assert_eq!(
        api.mirror.expect("there").phase,
        picolet_kube::pod::Phase::Running
    );
}

#[test]
fn it_is_not_made_in_a_hurry() {
    let mut api = Api::new();
    api.boot(ResetReason::PowerOn, "1");
    let refused = ApiError::Status(Box::new(Status {
        code: 403,
        ..Status::default()
    }));
    let (mut attempts, mut news) = (0, 0);
    for _ in 0..600 {
        let now = api.world.now();
        if let Ok(telling) = api.pods.next_telling(now) {
            attempts += 1;
            news += u32::from(api.pods.told(&telling, Err(&refused), now));
        }
        api.world.up += Duration::from_secs(1);
    }
    assert!((10..=16).contains(&attempts), "{attempts} in ten minutes");
    assert_eq!(news, 1);
}

#[test]
fn a_pod_of_that_name_that_is_no_mirror_is_an_ordinary_one() {
    let mut api = Api::new();
    api.boot(ResetReason::PowerOn, "1");
    let mut impostor = super::world::pod("u", super::Always, 0, 1);
    impostor.metadata = Metadata {
        name: "picolet-pico".into(),
        namespace: "kube-system".into(),
        ..impostor.metadata
    };
    api.pods.applied(&mut impostor, api.world.now());
    assert_eq!(api.pods.len(), 1);
    let telling = api
        .pods
        .next_telling(api.world.now())
        .expect("the mirror is missing");
    assert_eq!(
        (telling.owed, telling.uid.to_string().as_str()),
        (Owed::Creation, "")
    );
}
