//! Programs whose speed is compared: each takes a size and returns a number that depends on all of its work.

/// The `size`-th number of Fibonacci, by recursion: calls.
pub(crate) fn fib(size: u32) -> u32 {
    if size < 2 {
        size
    } else {
        fib(size - 1).wrapping_add(fib(size - 2))
    }
}

/// CRC-32 of `size` KiB, by a table: loads and arithmetic.
pub(crate) fn crc32(size: u32) -> u32 {
    let table: [u32; 256] = core::array::from_fn(|index| {
        (0..8).fold(index as u32, |value, _| {
            value >> 1 ^ if value & 1 != 0 { 0xedb8_8320 } else { 0 }
        })
    });
    let mut block = [0; 1024];
    for (index, byte) in block.iter_mut().enumerate() {
        *byte = (index as u8).wrapping_mul(167);
    }
    let mut crc = u32::MAX;
    for _ in 0..size {
        for byte in block {
            crc = table[usize::from(crc as u8 ^ byte)] ^ crc >> 8;
        }
    }
    !crc
}

/// Primes below 16,384, counted `size` times by the sieve of Eratosthenes: loads, stores and shifts.
pub(crate) fn sieve(size: u32) -> u32 {
    const WORDS: usize = 512;
    let mut found = 0_u32;
    for _ in 0..size {
        let mut composite = [0_u32; WORDS];
        for number in 2..WORDS * 32 {
            if composite[number / 32] >> (number % 32) & 1 != 0 {
                continue;
            }
            found = found.wrapping_add(1);
            let mut multiple = number * number;
            while multiple < WORDS * 32 {
                composite[multiple / 32] |= 1 << (multiple % 32);
                multiple += number;
            }
        }
    }
    found
}

/// What is parsed: the kind of object that the node reads all day.
const DOCUMENT: &[u8] = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"blink","namespace":"default",
"uid":"b6f0d3b2-6d0f-4b0e-9e55-0f6a3a1c3c55","labels":{"app":"blink","tier":"edge"},"generation":12},
"spec":{"containers":[{"name":"app","image":"registry.local/blink:1.4","args":["--pin","2","--times","-1"],
"env":[{"name":"RATE","value":"2.5e2"},{"name":"TEXT","value":"quoted \"words\" and a \\ slash"}],
"resources":{"limits":{"memory":"16Ki","cpu":"250m"}}}],"restartPolicy":"Always","hostNetwork":true,
"tolerations":null,"terminationGracePeriodSeconds":30},"status":{"phase":"Running","restartCount":0,"load":[0.5,-12,3e4]}}"#;

/// A document of 800 bytes, parsed `size` times by recursive descent: calls, branches and loads.
pub(crate) fn json(size: u32) -> u32 {
    let mut sum = 0_u32;
    for round in 0..size {
        let mut parser = Parser {
            rest: DOCUMENT,
            sum: round,
        };
        let whole = parser.value(0) && parser.rest.is_empty();
        sum = sum.rotate_left(1) ^ parser.sum ^ u32::from(whole);
    }
    sum
}

/// The deepest nesting.
const DEEPEST: u32 = 16;

struct Parser {
    rest: &'static [u8],
    sum: u32,
}

impl Parser {
    fn peek(&self) -> u8 {
        self.rest.first().copied().unwrap_or(0)
    }

    fn next(&mut self) -> u8 {
        let byte = self.peek();
        self.rest = self.rest.get(1..).unwrap_or_default();
        self.sum = self.sum.wrapping_mul(31).wrapping_add(byte.into());
        byte
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n') {
            self.rest = &self.rest[1..];
        }
    }

    /// Whether there was a value.
    fn value(&mut self, depth: u32) -> bool {
        self.skip_space();
        let valid = match self.peek() {
            _ if depth > DEEPEST => false,
            b'{' => self.list(b'}', depth, true),
            b'[' => self.list(b']', depth, false),
            b'"' => self.string(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        };
        self.skip_space();
        valid
    }

    fn list(&mut self, end: u8, depth: u32, named: bool) -> bool {
        self.next();
        self.skip_space();
        if self.peek() == end {
            self.next();
            return true;
        }
        loop {
            self.skip_space();
            if named && !(self.string() && self.next() == b':') {
                return false;
            }
            if !self.value(depth + 1) {
                return false;
            }
            match self.next() {
                b',' => {}
                byte => return byte == end,
            }
        }
    }

    fn string(&mut self) -> bool {
        if self.next() != b'"' {
            return false;
        }
        loop {
            match self.next() {
                b'"' => return true,
                b'\\' => {
                    self.next();
                }
                0..0x20 => return false,
                _ => {}
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> bool {
        word.iter().all(|byte| self.next() == *byte)
    }

    fn number(&mut self) -> bool {
        let mut digits = 0;
        while matches!(self.peek(), b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') {
            digits += u32::from(self.next().is_ascii_digit());
        }
        digits > 0
    }
}
