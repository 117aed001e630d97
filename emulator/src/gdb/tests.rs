//! gdb's packets on a program in RAM: `movs r0, #1; adds r0, #1; str r0, [r1]; bkpt; b .`.

use std::io;
use std::sync::{Arc, Mutex};

use super::*;
use crate::{Config, Image, Time};

const START: u32 = 0x2000_0008;

/// What went to gdb.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u8>>>);

impl Write for Seen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Gdb {
    board: Board,
    session: Session<Seen>,
    seen: Seen,
}

impl Gdb {
    fn attach() -> Self {
        let words = [0x2004_0000_u32, START | 1];
        let code = [0x2001_u16, 0x3001, 0x6008, 0xbe00, 0xe7fe];
        let mut bytes = words.map(u32::to_le_bytes).concat();
        bytes.extend(code.map(u16::to_le_bytes).concat());
        let mut board = Board::new(Config::default());
        board
            .load(&Image::from_bytes(0x2000_0000, &bytes).unwrap())
            .unwrap();
        board.power_on();
        let seen = Seen::default();
        let session = Session::new(&mut board, seen.clone()).unwrap();
        Self { board, session, seen }
    }

    fn send(&mut self, packet: &str) -> Result<String, Ended> {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        let framed = format!("${packet}#{sum:02x}");
        let result = self.session.feed(&mut self.board, framed.as_bytes());
        let answer = self.answer();
        // gdb acknowledges what it got
        result.map(|()| answer)
    }

    fn answer(&mut self) -> String {
        let bytes = std::mem::take(&mut *self.seen.0.lock().unwrap());
        if bytes.len() > 1 && self.session.0.is_some() {
            let _ = self.session.feed(&mut self.board, b"+");
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = text.trim_start_matches('+').trim_start_matches('$');
        body.split('#').next().unwrap_or_default().to_owned()
    }

    /// Runs until gdb is told of a stop.
    fn run(&mut self) -> String {
        for _ in 0..100 {
            let stop = self
                .board
                .run_until(self.board.time() + Duration::from_micros(100));
            if self.session.report(&mut self.board, &stop).unwrap() {
                return self.answer();
            }
        }
        panic!("no stop");
    }

    fn register(&mut self, number: usize) -> u32 {
        let all = self.send("g").unwrap();
        let digits = &all[8 * number..8 * number + 8];
        u32::from_str_radix(digits, 16).unwrap().swap_bytes()
    }
}

#[test]
fn steps_breaks_watches_and_reads() {
    let mut gdb = Gdb::attach();
    assert!(gdb.session.is_halted());
    gdb.send("Hgp1.1").unwrap();
    assert_eq!(gdb.register(15), START);
    gdb.send("vCont;s:p1.1;c:p1.-1").unwrap();
    assert!(gdb.run().starts_with("T05thread:"));
    assert_eq!((gdb.register(15), gdb.register(0)), (START + 2, 1));
    assert_eq!(gdb.send("m20000008,4").unwrap(), "01200130");

    assert_eq!(gdb.send(&format!("Z0,{:x},2", START + 4)).unwrap(), "OK");
    gdb.send("vCont;c:p1.-1").unwrap();
    assert!(gdb.run().contains("swbreak"));
    assert_eq!((gdb.register(15), gdb.register(0)), (START + 4, 2));
    assert_eq!(gdb.send(&format!("z0,{:x},2", START + 4)).unwrap(), "OK");

    // R1 gets an address that is watched
    let all = gdb.send("g").unwrap();
    let changed = format!("{}00000120{}", &all[..8], &all[16..]);
    assert_eq!(gdb.send(&format!("G{changed}")).unwrap(), "OK");
    assert_eq!(gdb.send("Z2,20010000,4").unwrap(), "OK");
    gdb.send("vCont;c:p1.-1").unwrap();
    assert!(gdb.run().contains("watch:20010000"));
    assert_eq!(gdb.send("z2,20010000,4").unwrap(), "OK");

    // the store has happened
    assert_eq!(gdb.register(15), START + 6);

    // BKPT stops, and is gone past
    gdb.send("vCont;c:p1.-1").unwrap();
    assert!(gdb.run().starts_with("T05"));
    assert_eq!(gdb.register(15), START + 6);
    assert_eq!(gdb.send("m20010000,4").unwrap(), "02000000");
    gdb.send("vCont;s:p1.1").unwrap();
    gdb.run();
    assert_eq!(gdb.register(15), START + 8);
    assert_eq!(gdb.send("vKill;1").unwrap_err(), Ended::Killed);
}

#[test]
fn an_answer_is_as_long_as_a_packet_at_most() {
    let mut gdb = Gdb::attach();
    let most = gdb.send("m10000000,1000").unwrap();
    assert_eq!(most.len(), 2 * 0x1000);
    let ended = gdb.send("m10000000,100a20000000").unwrap_err();
    let Ended::Failed(why) = &ended else {
        panic!("{ended}")
    };
    assert!(why.contains("16384 bytes"), "{why}");
    // the next debugger is served
    let mut session = Session::new(&mut gdb.board, gdb.seen.clone()).unwrap();
    session.feed(&mut gdb.board, b"$m20000008,4#57").unwrap();
    assert!(gdb.answer().starts_with("01200130"));
}

#[test]
fn a_core_can_be_held_while_the_other_steps() {
    let mut gdb = Gdb::attach();
    let before = gdb.board.figures().core_instructions[1];
    for _ in 0..3 {
        gdb.send("vCont;s:p1.1").unwrap();
        gdb.run();
    }
    assert_eq!(gdb.board.figures().core_instructions, [3, before]);
    assert_eq!(gdb.send("D;1").unwrap_err(), Ended::Detached);
    assert!(gdb.board.observers.is_empty());
    assert_eq!(
        gdb.board.run_until(Time::from_millis(10)),
        Stop::Lockup {
            core: 0,
            fault: gdb.board.machine.cores[0].last_fault
        }
    );
}

#[test]
fn registers_of_blocks_are_read_and_what_is_nowhere_is_not() {
    let mut gdb = Gdb::attach();
    // SIO.CPUID of either core, and CHIP_ID
    assert_eq!(gdb.send("md0000000,4").unwrap(), "00000000");
    gdb.send("Hgp1.2").unwrap();
    assert_eq!(gdb.send("md0000000,4").unwrap(), "01000000");
    assert!(gdb.send("m40000000,4").unwrap().ends_with("20"));
    assert!(gdb.send("m60000000,4").unwrap().starts_with('E'));
    assert!(gdb.send("M60000000,4:00000000").unwrap().starts_with('E'));
}

#[test]
fn a_debugger_interrupts_and_resets() {
    let mut gdb = Gdb::attach();
    gdb.send("vCont;s:p1.1").unwrap();
    gdb.run();
    let command: String = "reset".bytes().map(|byte| format!("{byte:02x}")).collect();
    gdb.send(&format!("qRcmd,{command}")).unwrap();
    assert_eq!(gdb.register(15), START);
    // past BKPT there is an endless loop
    assert_eq!(gdb.send(&format!("M{:x},2:fee7", START + 6)).unwrap(), "OK");
    gdb.send("vCont;c:p1.-1").unwrap();
    gdb.board.run_until(gdb.board.time() + Duration::from_micros(100));
    gdb.session.feed(&mut gdb.board, &[3]).unwrap();
    assert!(gdb.answer().starts_with("T02"));
}

#[test]
fn what_is_no_packet_does_no_harm() {
    let mut gdb = Gdb::attach();
    let _ = gdb
        .session
        .feed(&mut gdb.board, b"$g#00$#00-----\xff\x03$vCont;s:p9.9#zz$m,#00");
    let mut gdb = Gdb::attach();
    for packet in [
        "m20000000,ffffffff",
        "Z0,,",
        "Hgp0.0",
        "vCont;s:p1.3",
        "qRcmd,zz",
        "G00",
    ] {
        if gdb.send(packet).is_err() {
            gdb = Gdb::attach();
        }
    }
}
