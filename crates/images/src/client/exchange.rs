//! One response: its head, and what is done with its body.

use super::error::PullError;
use crate::challenge::{self, Challenge};
use crate::digest::Digest;
use crate::documents::AnswerDecoder;
use crate::url::URL_BYTES;
use alloc::string::String;
use picolet_http::{Body, HttpError, ResponseHead, ResponseReader};
use zeroize::Zeroizing;

/// Limit for the length of a body that is not content, in bytes.
const ANSWER_BYTES: usize = 8192;

/// What is done with the body of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It is content.
    Deliver,
    /// It is a token.
    Token,
    /// It is skipped, and another request is sent.
    Discard,
    /// It may say why the request failed.
    Fail(PullError),
}

/// The fields that matter.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) location: Option<String>,
    pub(super) challenge: Option<Challenge>,
    pub(super) retry_after: Option<u16>,
    /// Where the range begins.
    pub(super) range: Option<u32>,
    pub(super) digest: Option<Digest>,
}

impl Fields {
    fn take(&mut self, name: &str, value: &str) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("location") {
            self.location = Some(value.into());
        } else if is("www-authenticate") {
            challenge::prefer(&mut self.challenge, Challenge::parse(value));
        } else if is("retry-after") {
            self.retry_after = value.parse().ok();
        } else if is("content-range") {
            let range = value
                .strip_prefix("bytes ")
                .and_then(|range| range.split_once('-'));
            self.range = range.and_then(|(start, _)| start.parse().ok());
        } else if is("docker-content-digest") {
            self.digest = Digest::parse(value);
        }
    }
}

/// One response.
pub(super) struct Exchange {
    reader: ResponseReader,
    head: Option<(ResponseHead, Body)>,
    pub(super) fields: Fields,
    pub(super) plan: Plan,
    /// Bytes of content that were received before and are skipped.
    pub(super) skip: u32,
    answer: Option<AnswerDecoder>,
    /// Bytes of a body that is not content.
    answered: usize,
    has_no_body: bool,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            reader: ResponseReader::with_long_fields(&["location", "www-authenticate"], URL_BYTES),
            head: None,
            fields: Fields::default(),
            plan: Plan::Discard,
            skip: 0,
            answer: None,
            answered: 0,
            has_no_body: false,
        }
    }
}

impl Exchange {
    pub(super) fn has_head(&self) -> bool {
        self.head.is_some()
    }

    pub(super) fn status(&self) -> u16 {
        self.head.as_ref().map_or(0, |(head, _)| head.status)
    }

    /// Takes bytes of the head; returns how many.
    pub(super) fn take_head(&mut self, received: &[u8]) -> Result<usize, HttpError> {
        let Self { reader, fields, .. } = self;
        let (taken, head) = reader.take(received, &mut |name, value| fields.take(name, value))?;
        self.head = head;
        if self.plan == Plan::Token {
            self.answer = Some(AnswerDecoder::token());
        }
        Ok(taken)
    }

    /// Takes bytes of the body: how many, and the piece of the body among them.
    pub(super) fn take_body<'a>(&mut self, received: &'a [u8]) -> Result<(usize, &'a [u8]), HttpError> {
        let (taken, piece) = match &mut self.head {
            Some((_, body)) if !self.has_no_body => body.take(received)?,
            _ => (0, &[][..]),
        };
        if self.plan != Plan::Deliver {
            self.answered += piece.len();
        }
        Ok((taken, piece))
    }

    /// Marks the response as one to HEAD, whose fields describe a body that does not follow.
    pub(super) fn end_body(&mut self) {
        self.has_no_body = true;
    }

    fn is_whole(&self) -> bool {
        self.has_no_body || self.head.as_ref().is_some_and(|(_, body)| body.is_done())
    }

    /// Whether nothing more of the response is needed.
    pub(super) fn is_done(&self) -> bool {
        self.is_whole() || self.answered > ANSWER_BYTES
    }

    /// Whether the connection can take another request.
    pub(super) fn may_reuse(&self) -> bool {
        self.is_whole() && self.head.as_ref().is_some_and(|(head, _)| !head.close)
    }

    /// The plan for a response that is complete now that the connection has ended, or `None` if it is cut off.
    pub(super) fn end_at_close(&self) -> Option<Plan> {
        let (_, body) = self.head.as_ref()?;
        match self.plan {
            Plan::Discard | Plan::Fail(_) => Some(self.plan),
            Plan::Deliver | Plan::Token => body.ends_with_connection().then_some(self.plan),
        }
    }

    /// Removes what was received before from the front of a piece.
    pub(super) fn skip<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let skipped = (self.skip as usize).min(piece.len());
        self.skip -= skipped as u32;
        piece.get(skipped..).unwrap_or_default()
    }

    /// Reads the rest as an answer about a failure.
    pub(super) fn begin_failure(&mut self, error: PullError) {
        self.plan = Plan::Fail(error);
        self.answer = Some(AnswerDecoder::errors());
    }

    /// Takes a piece of a token or an error.
    pub(super) fn answer(&mut self, piece: &[u8]) {
        if let Some(decoder) = &mut self.answer
            && decoder.feed(piece).is_err()
        {
            self.answer = None;
        }
    }

    pub(super) fn take_token(&mut self) -> Option<Zeroizing<String>> {
        self.answer.take()?.into_token()
    }

    pub(super) fn take_message(&mut self) -> Option<String> {
        self.answer.take()?.into_message()
    }
}
