//! Tests of a client against servers that answer as an API server does.

use super::*;
use std::io::{BufReader, Write as _};
use std::net::TcpListener;

#[test]
fn certificate_of_the_api_server_needs_a_direct_connection() {
    let client = Client::anonymous("https://127.0.0.1:1").expect("a client");
    for hinted in [false, true] {
        let refused = client.server_certificate_beside_proxy(hinted);
        let text = format!("{:#}", refused.expect_err("nobody is there"));
        assert_eq!(text.contains("direct connection"), hinted, "{text}");
    }
}

#[test]
fn redirect_is_not_followed_when_a_node_behind_the_api_server_sends_it() {
    let (url, server) = serve(|path| match path {
        "/api/v1/nodes/pico-1/proxy/metrics" => {
            "REDIRECT /api/v1/namespaces/shop/services/web/proxy/stop".into()
        }
        _ => String::new(),
    });
    let client = Client::anonymous(&url).expect("a client");
    let answer = client.text("/api/v1/nodes/pico-1/proxy/metrics", REQUEST_TIMEOUT);
    assert!(is_refused(&answer.expect_err("a redirect"), 302));
    client.get("/end").expect_err("the end");
    assert_eq!(
        server.join().expect("paths"),
        ["/api/v1/nodes/pico-1/proxy/metrics"]
    );
}

/// Answers requests as an API server, by their paths, until one is for `/end`.
fn serve(answer: fn(&str) -> String) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        let mut paths = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
            let first = lines.next().expect("a request").expect("a line");
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let path = first.split(' ').nth(1).expect("a path").to_owned();
            if path == "/end" {
                break;
            }
            let body = answer(&path);
            let status = match body.strip_prefix("REDIRECT ") {
                Some(location) => format!("302 Found\r\nLocation: {location}"),
                None if body.contains("\"code\": 410") => "410 Gone".into(),
                None => "200 OK".into(),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            // A client that has read enough hangs up.
            let _ = stream.write_all((head + &body).as_bytes());
            paths.push(path);
        }
        paths
    });
    (url, server)
}

#[test]
fn list_reads_all_pages_and_smaller_ones_when_a_page_is_too_large() {
    let (url, server) = serve(|path| match path {
        "/l?a=b&limit=250" => " ".repeat(11 << 20),
        "/l?a=b&limit=125" => {
            r#"{"metadata": {"resourceVersion": "7", "continue": "x+/"}, "items": [1, 2]}"#.into()
        }
        "/l?a=b&limit=125&continue=%78%2B%2F" => {
            r#"{"metadata": {"resourceVersion": "7"}, "items": null}"#.into()
        }
        _ => String::new(),
    });
    let client = Client::anonymous(&url).expect("a client");
    let mut found = Vec::new();
    let version = client.list("/l?a=b", |number: u32| {
        found.push(number);
        Ok(())
    });
    let _ = client.get("/end");
    let paths = server.join().expect("no panic");
    assert_eq!(version.expect("a list"), "7");
    assert_eq!(found, [1, 2]);
    assert_eq!(paths.len(), 3, "{paths:?}");
}

#[test]
fn list_goes_on_when_it_expires() {
    let (url, server) = serve(|path| match path {
        "/l?limit=250" => r#"{"metadata": {"resourceVersion": "7", "continue": "old"}, "items": [1]}"#.into(),
        "/l?limit=250&continue=%6F%6C%64" => {
            r#"{"kind": "Status", "metadata": {"continue": "new"}, "code": 410}"#.into()
        }
        "/l?limit=250&continue=%6E%65%77" => r#"{"metadata": {"resourceVersion": "9"}, "items": [2]}"#.into(),
        // Without a place to go on at it is at an end.
        _ => r#"{"kind": "Status", "metadata": {}, "code": 410}"#.into(),
    });
    let client = Client::anonymous(&url).expect("a client");
    let mut found = Vec::new();
    let version = client.list("/l", |number: u32| {
        found.push(number);
        Ok(())
    });
    let lost = client.list("/m", |_: Value| Ok(()));
    let _ = client.get("/end");
    server.join().expect("no panic");
    // What came before the second page is missing in it: a watch has to begin at the first one's version.
    assert_eq!(version.expect("a list"), "7");
    assert_eq!(found, [1, 2]);
    assert!(lost.is_err_and(|error| is_refused(&error, 410)));
}

#[test]
fn list_fails_when_one_object_is_too_large() {
    let (url, server) = serve(|_| " ".repeat(11 << 20));
    let client = Client::anonymous(&url).expect("a client");
    let listed = client.list("/l", |_: Value| Ok(()));
    let _ = client.get("/end");
    let paths = server.join().expect("no panic");
    assert!(listed.is_err_and(|error| is_too_large(&error)));
    assert_eq!(paths.last().map(String::as_str), Some("/l?limit=1"));
}

#[test]
fn objects_are_read_when_their_managed_fields_are_nested_deeply() {
    let fields = "{\"f:x\":".repeat(1000) + "{}" + &"}".repeat(1000);
    let text = format!(
        r#"{{"items": [{{"metadata": {{"managedFields": [{{"fieldsV1": {fields}}}], "name": "x"}}, "n": [1, -1, 0.5, true, null]}}]}}"#
    );
    assert!(serde_json::from_str::<Value>(&text).is_err());
    let Object(read) = serde_json::from_str(&text).expect("an object");
    let expected = serde_json::json!({"items": [{"metadata": {"name": "x"}, "n": [1, -1, 0.5, true, null]}]});
    assert_eq!(read, expected);
}

#[test]
fn refusal_has_no_control_sequences_when_a_node_wrote_it() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
        while lines
            .next()
            .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
        {}
        let body = "no\u{1b}[2K\rnode/pico-1 forgets who it is";
        let head = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + body).as_bytes()).expect("an answer");
    });
    let client = Client::anonymous(&url).expect("a client");
    let refused = client.get("/x").expect_err("refused").to_string();
    server.join().expect("no panic");
    assert_eq!(
        refused,
        "no\u{fffd}[2K\u{fffd}node/pico-1 forgets who it is (HTTP 403)"
    );
}

#[test]
fn connection_is_made_when_only_the_last_address_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let live = listener.local_addr().expect("an address");
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = closed.local_addr().expect("an address");
    drop(closed);
    let stream = connect([dead, live].into_iter()).expect("a connection");
    assert_eq!(stream.peer_addr().expect("an address"), live);
    let failed = connect([dead].into_iter()).expect_err("nobody is there");
    assert!(format!("{failed:#}").contains(&dead.to_string()), "{failed:#}");
}

#[test]
fn endpoints_are_read_from_urls() {
    for (url, host, port, is_plain) in [
        ("https://192.0.2.10:6443", "192.0.2.10", 6443, false),
        ("https://[2001:db8::1]:6443/prefix", "2001:db8::1", 6443, false),
        ("https://api.example.org", "api.example.org", 443, false),
        ("http://127.0.0.1", "127.0.0.1", 80, true),
    ] {
        let endpoint = Client::anonymous(url).expect(url).endpoint().expect(url);
        assert_eq!(
            (&*endpoint.host, endpoint.port, endpoint.is_plain),
            (host, port, is_plain)
        );
    }
}
