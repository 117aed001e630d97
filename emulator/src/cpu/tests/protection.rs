//! The memory protection unit, case by case.

use super::*;

const MPU_CONTROL: u32 = 0xe000_ed94;
const MPU_BASE: u32 = 0xe000_ed9c;
const MPU_ATTRIBUTES: u32 = 0xe000_eda0;
/// MPU_RASR: full access, privileged only, read-only; and never to be run.
const FULL: u32 = 3 << 24;
const PRIVILEGED: u32 = 1 << 24;
const READ_ONLY: u32 = 6 << 24;
const NEVER_RUN: u32 = 1 << 28;
/// MPU_RASR: 2 to this power of bytes, enabled.
const fn sized(power: u32) -> u32 {
    (power - 1) << 1 | 1
}

/// Sets up regions of RAM; everything else is the background, which is privileged.
fn protect(machine: &mut Machine, regions: &[(u32, u32)]) {
    for (number, (base, attributes)) in (0..).zip(regions) {
        write(machine, MPU_BASE, base | 0x10 | number);
        write(machine, MPU_ATTRIBUTES, *attributes);
    }
    write(machine, MPU_CONTROL, 5);
}

/// The return address in the frame of the exception that core 0 is in.
fn stacked_pc(machine: &mut Machine) -> u32 {
    let frame = machine.cores[0].r[13];
    word(machine, frame + 24)
}

const PROTECTED: u32 = 0x2000_8000;

#[test]
fn a_store_that_is_not_allowed_is_a_hard_fault_and_stores_nothing() {
    for (regions, allowed) in [
        (&[(PROTECTED, READ_ONLY | sized(8))][..], false),
        (&[(PROTECTED, FULL | sized(8))], true),
        (&[(PROTECTED - 0x100, READ_ONLY | sized(8))], true),
    ] {
        // str r0, [r1]; b .
        let mut machine = machine(&[NOP, 0x6008, 0xe7fe]);
        machine.cores[0].r[1] = PROTECTED;
        protect(&mut machine, regions);
        step(&mut machine, 2);
        assert_eq!(word(&mut machine, PROTECTED), if allowed { 0xa0 } else { 0 });
        let fault = Fault::Protected {
            address: PROTECTED,
            access: Access::Write,
        };
        let last = machine.cores[0].last_fault;
        assert_eq!(last, if allowed { None } else { Some((fault, CODE + 2)) });
        assert_eq!(machine.cores[0].ipsr, if allowed { 0 } else { HARD_FAULT });
        if !allowed {
            assert_eq!(stacked_pc(&mut machine), CODE + 2);
        }
    }
}

#[test]
fn unprivileged_code_loads_and_runs_only_what_it_may() {
    // msr control, r2; isb; ldr r0, [r1]; b .
    let code = [0xf382, 0x8814, 0xf3bf, 0x8f6f, 0x6808, 0xe7fe];
    for (privilege, expected) in [(0, None), (1, Some((PROTECTED, Access::Read, CODE + 8)))] {
        let mut machine = machine(&code);
        (machine.cores[0].r[1], machine.cores[0].r[2]) = (PROTECTED, privilege);
        protect(
            &mut machine,
            &[(VECTORS, FULL | sized(15)), (PROTECTED, PRIVILEGED | sized(8))],
        );
        step(&mut machine, 4);
        let fault = machine.cores[0].last_fault;
        let expected = expected.map(|(address, access, pc)| (Fault::Protected { address, access }, pc));
        assert_eq!(fault, expected);
    }
    // without a region, its own code is the background's, which is not for it
    let mut machine = machine(&code);
    machine.cores[0].r[2] = 1;
    protect(&mut machine, &[(STACK - 0x100, FULL | sized(8))]);
    step(&mut machine, 2);
    let fault = Fault::Protected {
        address: CODE + 4,
        access: Access::Run,
    };
    assert_eq!(machine.cores[0].last_fault, Some((fault, CODE + 4)));
    assert_eq!(stacked_pc(&mut machine), CODE + 4);
}

#[test]
fn a_jump_to_data_is_a_hard_fault_at_its_target() {
    // bx r1
    let mut machine = machine(&[0x4708]);
    machine.cores[0].r[1] = PROTECTED | 1;
    protect(&mut machine, &[(PROTECTED, FULL | NEVER_RUN | sized(8))]);
    step(&mut machine, 2);
    let fault = Fault::Protected {
        address: PROTECTED,
        access: Access::Run,
    };
    assert_eq!(machine.cores[0].last_fault, Some((fault, PROTECTED)));
    assert_eq!(stacked_pc(&mut machine), PROTECTED);
}

#[test]
fn the_handler_of_a_fault_is_free_unless_it_is_told_otherwise() {
    // str r0, [r1], here and in the handler
    for (control, locks_up) in [(5, false), (7, true)] {
        let mut machine = machine(&[0x6008, 0xe7fe]);
        put(&mut machine, handler(HARD_FAULT), &[0x6008, 0xe7fe]);
        machine.cores[0].r[1] = PROTECTED;
        protect(&mut machine, &[(PROTECTED, READ_ONLY | sized(8))]);
        write(&mut machine, MPU_CONTROL, control);
        step(&mut machine, 3);
        assert_eq!(machine.cores[0].sleep == Sleep::Lockup, locks_up);
        assert_eq!(word(&mut machine, PROTECTED), if locks_up { 0 } else { 0xa0 });
    }
}

#[test]
fn a_frame_goes_only_where_the_stack_may_be_written() {
    // svc, with the stack in a guard region
    let mut machine = machine(&[SVC, 0xe7fe]);
    protect(&mut machine, &[(STACK - 0x100, READ_ONLY | sized(8))]);
    step(&mut machine, 1);
    let fault = Fault::Protected {
        address: STACK - 0x20,
        access: Access::Write,
    };
    assert_eq!(machine.cores[0].last_fault, Some((fault, CODE + 2)));
    assert_eq!(machine.cores[0].ipsr, HARD_FAULT);
    assert_eq!(word(&mut machine, STACK - 4), 0);
}

#[test]
fn the_unit_can_be_switched_on_and_off_by_what_runs() {
    // str r0, [r1] (on); str r2, [r3] (faults); the handler: str r4, [r1] (off); str r2, [r3]; b .
    let mut machine = machine(&[0x6008, 0x601a, 0xe7fe]);
    put(&mut machine, handler(HARD_FAULT), &[0x600c, 0x601a, 0xe7fe]);
    protect(&mut machine, &[(PROTECTED, READ_ONLY | sized(8))]);
    write(&mut machine, MPU_CONTROL, 0);
    machine.cores[0].r[..5].copy_from_slice(&[7, MPU_CONTROL, 0x77, PROTECTED, 0]);
    step(&mut machine, 1);
    assert_eq!(read(&mut machine, MPU_CONTROL), 7);
    step(&mut machine, 4);
    let fault = Fault::Protected {
        address: PROTECTED,
        access: Access::Write,
    };
    assert_eq!(machine.cores[0].last_fault, Some((fault, CODE + 2)));
    assert_eq!(word(&mut machine, PROTECTED), 0x77);
}
