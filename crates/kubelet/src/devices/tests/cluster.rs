//! What ConfigMaps and commands make of a device, beside an in-memory cluster, in time that jumps.

use crate::devices::{ConfigurationController, Devices};
use crate::events::EventSender;
use crate::health::State;
use crate::identity::{Certificates, IdentityController};
use crate::node_status::StatusController;
use crate::testing::{ClusterClock, Services, TestClock, TestHost};
use embassy_futures::join::{join, join3, join4};
use picolet_devcluster::{Cluster, Identity, Options, serve_connection};
use picolet_platform::{Duration, PinMode, Pins};
use picolet_runtime::NoRuntime;
use serde_json::{Value, json};
use std::format;
use std::string::{String, ToString};

use super::super::layers::BASE;

/// A node beside its cluster.
struct Bench {
    services: Services,
    devices: Devices,
    cluster: Cluster<ClusterClock>,
    time: TestClock,
}

impl Bench {
    /// Runs `test` beside a node that is Ready.
    fn run(test: impl AsyncFnOnce(&Self)) {
        let services = Services::new();
        let time = services.clock.clone();
        let cluster = Cluster::new(ClusterClock(time.clone()), Options::default());
        let bench = Self {
            devices: Devices::new(services.machine.pins()),
            services,
            cluster,
            time: time.clone(),
        };
        let background = join(bench.controllers(), bench.serve());
        time.run(background, async {
            bench.settle().await;
            assert_eq!(bench.services.health.state(), State::Ready);
            test(&bench).await;
        });
    }

    /// Runs the controller with those that show what it does: Events and the Node's conditions.
    async fn controllers(&self) {
        let Services {
            settings,
            machine,
            network,
            time,
            metrics,
            client,
            events,
            node,
            health,
            ..
        } = &self.services;
        let configuration = ConfigurationController::<TestHost> {
            settings,
            client,
            machine,
            time,
            events,
            node,
            metrics,
            devices: &self.devices,
        };
        let certificates = Certificates::default();
        let identity = IdentityController::<TestHost> {
            settings,
            client,
            machine,
            network,
            time,
            node,
            certificates: &certificates,
        };
        let status = StatusController::<TestHost> {
            settings,
            client,
            machine,
            network,
            runtime: &NoRuntime,
            time,
            events,
            node,
            health,
            identity: &identity,
            reporters: &[&self.devices],
        };
        let sender = EventSender::<TestHost> {
            client,
            machine,
            time,
            recorder: events,
        };
        join3(configuration.run(), status.run(), sender.run()).await;
    }

    async fn serve(&self) {
        let one = || async {
            loop {
                let mut end = self.services.network.served().await;
                let identity = Some(Identity::node("pico-1"));
                let _ = serve_connection(&self.cluster, &mut end, identity).await;
            }
        };
        join4(one(), one(), one(), one()).await;
    }

    /// Long enough for a change to arrive, for a list to be read anew, and for Events.
    async fn settle(&self) {
        self.time.sleep(Duration::from_secs(10)).await;
    }

    /// Creates or replaces a ConfigMap. All but the base carry the label.
    async fn put(&self, name: &str, content: Value) {
        let mut object = json!({"metadata": {"name": name, "namespace": "default"}});
        if name != BASE {
            object["metadata"]["labels"] = json!({"picolet.dev/node": "all"});
        }
        for (key, value) in content.as_object().expect("fields") {
            object[key] = value.clone();
        }
        let cluster = &self.cluster;
        match cluster.get("configmaps", "default", name) {
            Ok(_) => cluster.update("configmaps", "default", name, object),
            Err(_) => cluster.create("configmaps", "default", object),
        }
        .expect("the ConfigMap is taken");
        self.settle().await;
    }

    async fn gpio(&self, name: &str, gpio: &str) {
        self.put(name, json!({"data": {"gpio": gpio}})).await;
    }

    async fn delete(&self, name: &str) {
        let delete = self.cluster.delete("configmaps", "default", name, None);
        delete.expect("it is there");
        self.settle().await;
    }

    /// What a pin does, in the words of a ConfigMap.
    fn pin(&self, pin: u8) -> String {
        match self.services.machine.read_pin(pin).expect("a pin").mode {
            PinMode::Unset => "unset".to_string(),
            PinMode::Low => "low".to_string(),
            PinMode::High => "high".to_string(),
            PinMode::Pwm { duty, hertz } => format!("pwm:{duty}@{hertz}"),
        }
    }

    /// The message of an Event about a ConfigMap.
    fn event(&self, name: &str, reason: &str) -> String {
        let all = self.cluster.list("events", "default", "", "").expect("a list");
        let found = all
            .iter()
            .find(|event| event["involvedObject"]["name"] == name && event["reason"] == reason);
        let found = found.unwrap_or_else(|| panic!("no Event {reason} about {name}: {all:?}"));
        found["message"].as_str().expect("a text").to_string()
    }

    /// Status and message of the condition `ConfigurationApplied`.
    fn condition(&self) -> String {
        let node = self.cluster.get("nodes", "", "pico-1").expect("a Node");
        let conditions = node["status"]["conditions"].as_array().expect("conditions");
        let found = conditions
            .iter()
            .find(|one| one["type"] == "ConfigurationApplied");
        let found = found.expect("the condition");
        format!("{} {}", found["status"], found["message"])
    }
}

#[test]
fn config_map_is_rejected_whole_when_two_of_its_pins_need_two_frequencies_of_one_slice() {
    Bench::run(async |bench| {
        bench.gpio(BASE, "4=pwm:128@1000,5=pwm:128@1000").await;
        let data = json!({"gpio": "4=pwm:128@1000,5=pwm:128@50,6=high", "led": "on", "memory_values": "0=1"});
        bench.put(BASE, json!({"data": data})).await;
        assert_eq!(
            [4, 5, 6].map(|pin| bench.pin(pin)),
            ["pwm:128@1000", "pwm:128@1000", "unset"]
        );
        let event = bench.event(BASE, "InvalidConfiguration");
        assert!(event.starts_with("gpio: entry \"5=pwm:128@50\": "), "{event}");
        assert!(
            event.contains("slice 2") && event.ends_with("the last good state stays."),
            "{event}"
        );
        bench.gpio(BASE, "4=pwm:128@50,5=pwm:128@50").await;
        assert_eq!([4, 5].map(|pin| bench.pin(pin)), ["pwm:128@50", "pwm:128@50"]);
        assert!(bench.condition().starts_with("\"True\""), "{}", bench.condition());
    });
}

#[test]
fn config_map_is_applied_when_another_one_cures_its_conflict() {
    Bench::run(async |bench| {
        bench.gpio(BASE, "4=pwm:128@1000").await;
        bench.gpio("servo", "5=pwm:20@50,7=high").await;
        assert_eq!(
            [4, 5, 7].map(|pin| bench.pin(pin)),
            ["pwm:128@1000", "unset", "unset"]
        );
        let event = bench.event("servo", "InvalidConfiguration");
        assert!(
            event.contains("pin 4, which ConfigMap pico-config sets to pwm:128@1000"),
            "{event}"
        );
        assert!(
            event.ends_with("Nothing of this ConfigMap is applied."),
            "{event}"
        );
        assert!(
            bench
                .condition()
                .starts_with("\"False\" \"ConfigMap servo is rejected"),
            "{}",
            bench.condition()
        );
        bench.gpio(BASE, "4=pwm:128@50").await;
        assert_eq!(
            [4, 5, 7].map(|pin| bench.pin(pin)),
            ["pwm:128@50", "pwm:20@50", "high"]
        );
        let event = bench.event("servo", "ConfigurationApplied");
        assert!(event.starts_with("applied: "), "{event}");
        assert!(bench.condition().starts_with("\"True\""), "{}", bench.condition());
        // And the other way: a change elsewhere makes a conflict of what was none.
        bench.gpio(BASE, "4=pwm:128@60").await;
        assert_eq!(
            [4, 5, 7].map(|pin| bench.pin(pin)),
            ["pwm:128@60", "unset", "unset"]
        );
        bench.delete(BASE).await;
        assert_eq!(
            [4, 5, 7].map(|pin| bench.pin(pin)),
            ["unset", "pwm:20@50", "high"]
        );
    });
}

#[test]
fn base_has_room_when_eight_labelled_config_maps_are_followed() {
    Bench::run(async |bench| {
        for n in 0..8 {
            bench.gpio(&format!("map-{n}"), "").await;
        }
        bench.gpio(BASE, "2=high").await;
        assert_eq!(bench.pin(2), "high");
    });
}

#[test]
fn config_map_without_room_is_applied_when_another_one_goes() {
    Bench::run(async |bench| {
        for n in 0..9 {
            bench.gpio(&format!("map-{n}"), &format!("{}=high", 6 + n)).await;
        }
        assert_eq!([13, 14].map(|pin| bench.pin(pin)), ["high", "unset"]);
        let event = bench.event("map-8", "TooManyConfigMaps");
        assert!(event.contains("8 ConfigMaps beside pico-config"), "{event}");
        bench.delete("map-3").await;
        assert_eq!([9, 13, 14].map(|pin| bench.pin(pin)), ["unset", "high", "high"]);
    });
}

#[test]
fn config_map_is_rejected_when_it_has_binary_data() {
    Bench::run(async |bench| {
        bench.gpio(BASE, "2=high").await;
        let binary = json!({"binaryData": {"gpio": "//4yAD0AbABvAHcA"}});
        bench.put(BASE, binary).await;
        assert_eq!(bench.pin(2), "high");
        let event = bench.event(BASE, "InvalidConfiguration");
        assert!(event.starts_with("binaryData: entry \"gpio\": "), "{event}");
        assert!(event.contains("UTF-8"), "{event}");
    });
}
