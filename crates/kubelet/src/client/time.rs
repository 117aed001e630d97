//! Having the API server tell the time.

use super::{ApiError, Client, Connection, within};
use crate::backoff::Backoff;
use crate::host::Host;
use crate::time::Answer;
use alloc::boxed::Box;
use core::pin::Pin;
use picolet_kube::request::{Request, Resource};
use picolet_platform::{Clock, DialError, Duration, Level, Log, Network};

/// How long the API server may take to answer the question for the time, its handshake included.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);

impl<H: Host> Client<H> {
    /// Completes once the time is known, if only from a hint.
    pub(crate) async fn learn_time(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(7));
        while !self.time.is_known() {
            // A time server may have answered meanwhile.
            if let Err(error) = self.ask_time().await
                && !self.time.is_known()
            {
                self.machine
                    .log(Level::Warn, format_args!("no time from the API server: {error}"));
                backoff.wait(&*self.machine).await;
            }
        }
    }

    /// Has the API server confirm the time, unless it has: to be called before anything is sent that depends on the time.
    ///
    /// # Errors
    /// The API server does not answer, or its `Date` is not believed.
    pub(crate) async fn confirm_time(&self) -> Result<(), ApiError> {
        if self.time.is_settled() {
            return Ok(());
        }
        // Out of line and on the heap: it is rarely needed, and several tasks call it.
        let question: Pin<Box<dyn Future<Output = _> + '_>> = Box::pin(self.question());
        question.await
    }

    async fn question(&self) -> Result<(), ApiError> {
        match self.post(&Request::get(Resource::Version)).await {
            Err(error @ ApiError::Dial(DialError::Tls)) => match self.ask_time().await {
                Err(ApiError::Dial(DialError::Dated)) => Err(error),
                asked => asked,
            },
            // A refusal has a `Date` too.
            Err(error) if error.code() == 0 => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks the API server for the time without a credential, and sets the clock if the answer is believed.
    pub(crate) async fn ask_time(&self) -> Result<(), ApiError> {
        let asked = async {
            let undated = self.network.dial_undated().await.map_err(ApiError::Dial)?;
            let mut connection = Connection::new(undated.stream, self.host());
            let sent = self.machine.uptime();
            let head = connection.send(&Request::get(Resource::Version)).await?;
            let answer = Answer {
                date: head.date.ok_or(ApiError::Http)?,
                latency: self.machine.uptime().saturating_sub(sent),
                validity: undated.validity,
                dated: false,
            };
            self.time.believe(&answer).map_err(ApiError::Date)
        };
        within(&*self.machine, ASK_TIMEOUT, asked).await?;
        self.time.settle();
        Ok(())
    }
}
