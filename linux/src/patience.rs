//! Waiting for what may heal by itself: a server that is not up yet, a token that is about to be replaced.
//!
//! The agent waits so once it runs (`kubelet::identity`); this is for what has to be known before it can.

use crate::client::may_heal;
use anyhow::Result;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// After the first failure, and the longest that is waited after many: as the agent waits.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often it is said again that the same is still the matter.
const REMINDER: Duration = Duration::from_secs(600);

/// Tries until it succeeds, and says what is the matter: once, and again when it is something else, or has been for long.
///
/// # Errors
/// The first that no other answer of a server would mend.
pub(crate) async fn until_it_heals<T, F: Future<Output = Result<T>>>(attempt: impl Fn() -> F) -> Result<T> {
    with_pauses(FIRST_PAUSE, LONGEST_PAUSE, attempt).await
}

async fn with_pauses<T, F: Future<Output = Result<T>>>(
    mut pause: Duration,
    longest: Duration,
    attempt: impl Fn() -> F,
) -> Result<T> {
    let mut told: Option<(String, Instant)> = None;
    loop {
        let error = match attempt().await {
            Err(error) if may_heal(&error) => error,
            ended => return ended,
        };
        let words = format!("{error:#}");
        let is_new = |(before, at): &(String, Instant)| *before != words || at.elapsed() >= REMINDER;
        if told.as_ref().is_none_or(is_new) {
            tracing::warn!("{words}: this is tried again");
            told = Some((words, Instant::now()));
        }
        sleep(jittered(pause)).await;
        pause = (2 * pause).min(longest);
    }
}

/// `pause` and up to half of it more, so that those who failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let share = getrandom::u32().map_or(0.0, |random| f64::from(random) / f64::from(u32::MAX));
    pause.mul_f64(1.0 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use anyhow::anyhow;
    use std::cell::Cell;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Answers one request after the other with these, each on a connection of its own. Returns its URL.
    fn server(answers: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for answer in answers {
                let (mut socket, _) = listener.accept().expect("a caller");
                let mut request = [0; 4096];
                let _ = socket.read(&mut request);
                let head = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                socket.write_all(head.as_bytes()).expect("the caller reads");
            }
        });
        format!("http://{address}")
    }

    fn ask(url: &str) -> Result<String> {
        Client::anonymous(url, None)?.text("/cacerts", Duration::from_secs(30))
    }

    #[tokio::test]
    async fn refusals_are_outlived() {
        let url = server(&["503 Starting", "401 Unauthorized", "404 Not Found", "200 OK"]);
        let (tries, began) = (Cell::new(0), Instant::now());
        let first = Duration::from_millis(4);
        let answer = with_pauses(first, 2 * first, || {
            tries.set(tries.get() + 1);
            let answer = ask(&url);
            async move { answer }
        });
        answer.await.expect("it is served in the end");
        assert_eq!(tries.get(), 4);
        assert!(began.elapsed() >= 5 * first, "the pauses grow up to the longest");
        // Nobody is there any more, and then something is wrong that stays so.
        tries.set(0);
        let ended = with_pauses(first, first, || {
            tries.set(tries.get() + 1);
            let answer = match tries.get() {
                1..3 => ask(&url),
                _ => Err(anyhow!("the hash is another")),
            };
            async move { answer }
        });
        assert_eq!(
            ended.await.expect_err("for good").to_string(),
            "the hash is another"
        );
        assert_eq!(tries.get(), 3);
    }
}
