//! Random Thumb programs: loops over random instructions that fold all registers and flags into memory each time
//! around, so that what differs once differs in the end. They end with BKPT.

/// Where the program lies, behind a vector table of two words.
pub(crate) const CODE: u32 = 0x2000_0000;
/// The memory that random loads and stores go to, and that is compared.
pub(crate) const DATA: u32 = 0x2000_3000;
/// Its size.
pub(crate) const DATA_SIZE: usize = 0xc00;
const STACK: u32 = 0x2000_3ff0;
/// Each program runs its body this often.
const ROUNDS: u32 = 400;

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u16 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) as u32 % bound) as u16
    }
}

/// Appends random instructions. R0 to R5 hold data, R6 and R7 addresses for a moment, R8 the memory, R9 the count.
fn instruction(random: &mut Random, code: &mut Vec<u16>) {
    let (d, n, m) = (random.below(6), random.below(6), random.below(6));
    match random.below(26) {
        // shifts by a constant, add and subtract of three operands
        0 => code.push(random.below(3) << 11 | random.below(32) << 6 | m << 3 | d),
        1 => code.push(0x1800 | random.below(4) << 9 | random.below(6) << 6 | n << 3 | d),
        // a constant of eight bits
        2 | 3 => code.push(0x2000 | random.below(4) << 11 | d << 8 | random.below(256)),
        // data processing
        4..=8 => code.push(0x4000 | random.below(16) << 6 | m << 3 | d),
        // high registers: R10 to R12
        9 => code.push(0x4480 | (2 + random.below(3)) | m << 3),
        10 => code.push(0x4640 | d | (2 + random.below(3)) << 3),
        11 => code.push(0x4580 | (2 + random.below(3)) | m << 3),
        12 => code.push(0x4680 | (2 + random.below(3)) | m << 3),
        // extension and reversal
        13 => code.push(0xb200 | random.below(4) << 6 | m << 3 | d),
        14 => code.push(0xba00 | [0, 1, 3][random.below(3) as usize] << 6 | m << 3 | d),
        // loads and stores with a constant: word, byte, halfword
        15 | 16 => {
            code.push(0x4647);
            code.push(
                [0x6000, 0x7000, 0x8000][random.below(3) as usize]
                    | random.below(2) << 11
                    | random.below(32) << 6
                    | 7 << 3
                    | d,
            );
        }
        // loads and stores with a register
        17 | 18 => {
            code.push(0x4647);
            code.push(0x2600 | random.below(64) << 2);
            code.push(0x5000 | random.below(8) << 9 | 6 << 6 | 7 << 3 | d);
        }
        // several registers at once, the base among them or not
        19 => {
            code.push(0x4647);
            code.push(0xc000 | 7 << 8 | (1 + random.below(63)));
        }
        20 => {
            code.push(0x4647);
            code.push(0xc800 | 7 << 8 | (1 + random.below(63)) | random.below(2) << 7);
        }
        // the stack
        21 => {
            let list = 1 + random.below(63);
            code.push(0xb400 | list);
            let other = (1..64)
                .cycle()
                .skip(random.below(63) as usize)
                .find(|other: &u16| other.count_ones() == list.count_ones());
            code.push(0xbc00 | other.unwrap_or(list));
        }
        22 => code.extend([
            0xb084,
            0x9000 | d << 8 | random.below(4),
            0x9800 | n << 8 | random.below(4),
            0xa800 | 6 << 8 | 2,
            0xb004,
        ]),
        // addresses and literals: in the code, which is the same on both
        23 => code.push([0xa000, 0x4800][random.below(2) as usize] | d << 8 | random.below(16)),
        // a conditional branch over one or two instructions
        24 => {
            code.push(0xd000 | random.below(14) << 8 | random.below(2));
            code.push(0x3000 | d << 8 | random.below(256));
            code.push(0x4040 | m << 3 | n);
        }
        // flags through APSR, the four of them: QEMU keeps a fifth that ARMv6-M does not have; and a call over a return
        _ if random.below(2) == 0 => {
            code.extend([0xf3ef, 0x8000 | d << 8]);
            code.extend([0x0f00 | m << 3 | m, 0x0700 | m << 3 | m, 0xf380 | m, 0x8800]);
        }
        // bl +4; b +2; bx lr
        _ => code.extend([0xf000, 0xf801, 0xe001, 0x3101, 0x4770]),
    }
}

/// A program of about `length` instructions, for both machines.
pub(crate) fn program(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut code: Vec<u16> = Vec::new();
    // R8 = DATA, R9 = ROUNDS, by shifts: no literal is needed
    code.extend([0x2720, 0x063f, 0x2630, 0x0236, 0x19bf, 0x46b8]);
    code.extend([0x2600 | (ROUNDS >> 2) as u16, 0x00b6, 0x46b1]);
    for register in 0..6 {
        code.push(0x2000 | register << 8 | random.below(256));
    }
    code.extend([0x468a, 0x4693, 0x469c]);
    let top = code.len();
    for _ in 0..length {
        instruction(&mut random, &mut code);
    }
    // fold flags and registers into a word behind what random stores reach: sum = 33 * sum + everything
    code.extend([0xf3ef, 0x8600, 0x4647, 0x37fc]);
    code.extend([
        0x1836, 0x404e, 0x18b6, 0x405e, 0x1936, 0x406e, 0x4456, 0x445e, 0x4466,
    ]);
    code.extend([0xb401, 0x6878, 0x1836, 0x0140, 0x1980, 0x6078, 0xbc01]);
    // count down; a loop of thousands of instructions is longer than B reaches: BL does, and LR is nobody's
    code.extend([0x464e, 0x3e01, 0x46b1, 0xd001]);
    let offset = ((top as i32 - (code.len() as i32 + 2)) * 2) as u32;
    let (s, i1, i2) = (offset >> 24 & 1, offset >> 23 & 1, offset >> 22 & 1);
    code.push((0xf000 | s << 10 | offset >> 12 & 0x3ff) as u16);
    code.push((0xd000 | (i1 ^ s ^ 1) << 13 | (i2 ^ s ^ 1) << 11 | offset >> 1 & 0x7ff) as u16);
    // the registers behind the sum
    code.extend([0x4647, 0x2684, 0x0076, 0x19bf, 0xc73f]);
    // every byte of the memory to the console by semihosting, then exit
    code.extend([
        0x4644, 0x250c, 0x022d, 0x2003, 0x1c21, 0xbeab, 0x3401, 0x3d01, 0xd1f9,
    ]);
    code.extend([0x2102, 0x0409, 0x3126, 0x2018, 0xbeab, 0xe7fe]);
    let mut bytes = Vec::new();
    bytes.extend(STACK.to_le_bytes());
    bytes.extend((CODE + 9).to_le_bytes());
    bytes.extend(code.iter().flat_map(|half| half.to_le_bytes()));
    assert!(
        bytes.len() < (DATA - CODE) as usize,
        "the program runs into its data"
    );
    bytes
}
