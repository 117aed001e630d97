//! `/devcluster`: what an administrator may do to the cluster itself over HTTP.
//!
//! `GET /devcluster/faults` shows the faults in force, `POST` adds to them, `DELETE` ends them;
//! `GET /devcluster/counters` shows what was counted.

use crate::answer::Answer;
use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::error::ApiError;
use crate::faults::{Fault, RandomFaults, Restart};
use crate::request::Request;
use picolet_platform::Clock;
use picolet_platform::Duration;
use serde::Deserialize;
use serde_json::{Value, json};
use std::rc::Rc;

/// What can be ordered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Order {
    /// Rules to add.
    #[serde(default)]
    faults: Vec<Fault>,
    /// A share of all requests and events fails.
    random: Option<RandomFaults>,
    /// How many seconds the `Date` header is ahead.
    clock_skew_seconds: Option<i64>,
    /// The server starts again.
    restart: Option<Restart>,
    /// For so many seconds nobody is answered, this API included; the connection that orders it gets its answer.
    down_seconds: Option<u32>,
    /// Every connection but this one is cut.
    #[serde(default)]
    cut_connections: bool,
}

pub(crate) fn handle<C: Clock>(
    cluster: &Cluster<C>,
    connection: &Rc<Connection>,
    request: &Request,
) -> Result<Answer, ApiError> {
    match (request.verb, request.head.path.trim_end_matches('/')) {
        ("get", "/devcluster/faults") => {}
        ("create", "/devcluster/faults") => {
            let wrong = |error| ApiError::bad_request(format!("no such fault: {error}"));
            let order: Order = serde_json::from_slice(&request.body).map_err(wrong)?;
            cluster.faults(|faults| {
                order.faults.into_iter().for_each(|fault| faults.add(fault));
                if order.random.is_some() {
                    faults.set_random(order.random);
                }
                if let Some(seconds) = order.clock_skew_seconds {
                    faults.set_clock_skew(seconds);
                }
            });
            if let Some(lose) = order.restart {
                cluster.lose(lose);
            }
            if let Some(seconds) = order.down_seconds {
                cluster.set_down_but(Duration::from_secs(u64::from(seconds)), Some(connection));
            } else if order.restart.is_some() || order.cut_connections {
                cluster.cut_connections_but(Some(connection));
            }
        }
        ("delete", "/devcluster/faults") => cluster.faults(crate::faults::Faults::clear),
        ("get", "/devcluster/counters") => return Ok(Answer::json(200, counters(cluster).to_string())),
        _ => return Err(ApiError::no_such_path()),
    }
    let shown = cluster.faults(|faults| {
        json!({"faults": faults.rules(), "random": faults.random(), "clockSkewSeconds": faults.clock_skew,
            "struck": faults.struck()})
    });
    Ok(Answer::json(200, shown.to_string()))
}

fn counters<C: Clock>(cluster: &Cluster<C>) -> Value {
    let counters = cluster.counters();
    let requests: Vec<Value> = counters
        .requests
        .iter()
        .map(|((verb, resource, code), count)| {
            json!({"verb": verb, "resource": resource, "code": code, "count": count})
        })
        .collect();
    json!({
        "requests": requests, "connections": counters.connections, "openConnections": counters.open_connections,
        "openWatches": counters.open_watches, "events": counters.events, "faults": counters.faults,
    })
}
