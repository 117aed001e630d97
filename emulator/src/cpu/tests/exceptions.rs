//! The exception model and the system control space, case by case.

use super::*;

#[test]
fn a_fault_stacks_the_address_of_its_instruction() {
    // what R1 holds, the instruction, and what is wrong with it
    for (r1, code, fault) in [
        (0x2000_1001, 0x6808, Fault::Unaligned { address: 0x2000_1001 }),
        (0x2000_1002, 0x6008, Fault::Unaligned { address: 0x2000_1002 }),
        (0x2000_1001, 0x8808, Fault::Unaligned { address: 0x2000_1001 }),
        (0x2000_1003, 0xc901, Fault::Unaligned { address: 0x2000_1003 }),
        (0x6000_0000, 0x6808, Fault::Bus { address: 0x6000_0000 }),
        (0x2004_2000, 0x7008, Fault::Bus { address: 0x2004_2000 }),
        (0xe000_0000, 0x4708, Fault::NotThumb { address: 0xe000_0000 }),
        (0x4000_0001, 0x4708, Fault::Fetch { address: 0x4000_0000 }),
        (0x2000_0001, 0xbe00, Fault::Breakpoint),
    ] {
        let mut machine = machine(&[code]);
        machine.cores[0].r[1] = r1;
        step(&mut machine, 1);
        let core = &machine.cores[0];
        assert_eq!(core.ipsr, HARD_FAULT, "{fault}");
        let at = core.last_fault.expect("it faulted");
        assert_eq!(at.0, fault);
        let frame = core.r[13];
        assert_eq!(word(&mut machine, frame + 24), at.1, "{fault}");
        let jumped = matches!(fault, Fault::NotThumb { .. } | Fault::Fetch { .. });
        assert_eq!(at.1, if jumped { r1 & !1 } else { CODE }, "{fault}");
    }
}

#[test]
fn a_fault_where_no_fault_can_be_taken_locks_up() {
    let mut machine = machine(&[UDF]);
    put(&mut machine, handler(HARD_FAULT), &[NOP, UDF]);
    assert_eq!(
        step(&mut machine, 10),
        Stop::Lockup {
            core: 0,
            fault: Some((Fault::Undefined { instruction: 0xde00 }, handler(HARD_FAULT) + 2))
        }
    );
    assert_eq!(machine.cores[0].sleep, Sleep::Lockup);
}

#[test]
fn entry_stacks_eight_words_aligned_and_return_takes_them_back() {
    for misaligned in [0, 4] {
        let mut machine = machine(&[NOP, NOP, NOP]);
        machine.cores[0].r[13] = STACK - misaligned;
        machine.cores[0].set_flags(0xa000_0000);
        write(&mut machine, NVIC_ENABLE, 1 << 3);
        step(&mut machine, 1);
        let before = machine.cores[0].clone();
        write(&mut machine, NVIC_PEND, 1 << 3);
        step(&mut machine, 1);
        let core = &machine.cores[0];
        assert_eq!((core.ipsr, core.pc), (19, handler(19) + 2));
        assert_eq!(core.r[14], 0xffff_fff9);
        assert_eq!(core.r[13], STACK - 0x20 - 2 * misaligned);
        assert_eq!(core.cycles - before.cycles, 15 + 1, "entry and one instruction");
        let frame: Vec<u32> = (0..8)
            .map(|i| word(&mut machine, STACK - 0x20 - 2 * misaligned + 4 * i))
            .collect();
        let psr = 0xa100_0000 | (misaligned >> 2) << 9;
        assert_eq!(frame, [0xa0, 0xa1, 0xa2, 0xa3, 0xac, 0x55, CODE + 2, psr]);
        machine.cores[0].r[..4].fill(0);
        machine.cores[0].set_flags(0);
        step(&mut machine, 1);
        let core = &machine.cores[0];
        assert_eq!(core.r[..15], before.r[..15]);
        assert_eq!((core.pc, core.xpsr()), (CODE + 2, before.xpsr()));
    }
}

#[test]
fn the_highest_priority_goes_first_and_among_equals_the_lowest_number() {
    let mut machine = machine(&[NOP; 4]);
    write(&mut machine, NVIC_ENABLE, 0xff);
    // interrupts 1 and 5 at priority 1, 2 at 2, 0 at 3
    write(&mut machine, NVIC_PRIORITY, 0x00_80_40_c0);
    write(&mut machine, NVIC_PRIORITY + 4, 0x00_00_40_00);
    write(&mut machine, NVIC_PEND, 1 << 0 | 1 << 1 | 1 << 2 | 1 << 5);
    let mut order = Vec::new();
    for _ in 0..8 {
        step(&mut machine, 1);
        order.push(machine.cores[0].ipsr);
    }
    // each handler is two instructions; the return of one chains to the next
    assert_eq!(order, [17, 21, 21, 18, 18, 16, 16, 0]);
}

#[test]
fn only_a_higher_priority_preempts() {
    let mut machine = machine(&[NOP; 4]);
    put(&mut machine, handler(17), &[NOP, NOP, NOP, NOP, BX_LR]);
    write(&mut machine, NVIC_ENABLE, 7);
    write(&mut machine, NVIC_PRIORITY, 0x00_40_80_80);
    write(&mut machine, NVIC_PEND, 1 << 1);
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].ipsr, 17);
    write(&mut machine, NVIC_PEND, 1 << 0);
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].ipsr, 17, "an equal waits");
    write(&mut machine, NVIC_PEND, 1 << 2);
    step(&mut machine, 1);
    let core = &machine.cores[0];
    assert_eq!((core.ipsr, core.r[14]), (18, 0xffff_fff1));
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].ipsr, 17, "back in the handler below");
}

#[test]
fn handlers_chain_without_unstacking() {
    let mut machine = machine(&[NOP; 4]);
    write(&mut machine, NVIC_ENABLE, 3);
    write(&mut machine, NVIC_PEND, 3);
    step(&mut machine, 1);
    let (frame, cycles) = (machine.cores[0].r[13], machine.cores[0].cycles);
    assert_eq!(machine.cores[0].ipsr, 16);
    step(&mut machine, 1);
    let core = &machine.cores[0];
    assert_eq!((core.ipsr, core.pc, core.r[13]), (17, handler(17), frame));
    assert_eq!(core.r[14], 0xffff_fff9);
    assert_eq!(core.cycles - cycles, 2 + 6, "BX and the chain");
}

#[test]
fn a_late_arrival_takes_over_the_frame() {
    let mut machine = machine(&[NOP; 4]);
    write(&mut machine, NVIC_ENABLE, 3);
    write(&mut machine, NVIC_PRIORITY, 0x00_00_00_c0);
    write(&mut machine, NVIC_PEND, 1);
    {
        let Machine { cores, chip, .. } = &mut machine;
        cores[0].service_exceptions(chip);
        assert_eq!(cores[0].ipsr, 16, "entered, and nothing of its handler run");
    }
    let frame = machine.cores[0].r[13];
    write(&mut machine, NVIC_PEND, 2);
    step(&mut machine, 1);
    let core = &machine.cores[0];
    assert_eq!((core.ipsr, core.pc, core.r[13]), (17, handler(17) + 2, frame));
    assert_eq!(core.r[14], 0xffff_fff9, "it returns to what was interrupted");
    // the one that came first has kept its place in the queue
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].ipsr, 16);
    step(&mut machine, 2);
    assert_eq!(machine.cores[0].pc, CODE);
}

#[test]
fn a_return_goes_where_its_value_says() {
    // to thread mode on the process stack
    let mut machine = machine(&[NOP; 4]);
    machine.cores[0].use_process_stack(true);
    write(&mut machine, NVIC_ENABLE, 1);
    write(&mut machine, NVIC_PEND, 1);
    step(&mut machine, 1);
    let core = &machine.cores[0];
    assert_eq!((core.r[14], core.r[13]), (0xffff_fffd, STACK));
    assert_eq!(core.psp(), PROCESS_STACK - 0x20);
    step(&mut machine, 1);
    let core = &machine.cores[0];
    assert_eq!(
        (core.control() & 2, core.r[13], core.msp()),
        (2, PROCESS_STACK, STACK)
    );

    // values that mean nothing, or another mode than the active exceptions allow
    for value in [0xffff_fff5_u32, 0xffff_fff1, 0xff00_fff9] {
        let mut machine = self::machine(&[NOP; 4]);
        write(&mut machine, NVIC_ENABLE, 1);
        write(&mut machine, NVIC_PEND, 1);
        step(&mut machine, 1);
        machine.cores[0].r[14] = value;
        step(&mut machine, 1);
        assert_eq!(machine.cores[0].ipsr, HARD_FAULT, "{value:08x}");
    }

    // in thread mode it is a jump to where nothing can run
    let mut machine = self::machine(&[BX_LR]);
    machine.cores[0].r[14] = 0xffff_fff9;
    step(&mut machine, 1);
    assert!(matches!(
        machine.cores[0].last_fault,
        Some((Fault::Fetch { address: 0xffff_fff8 }, _))
    ));
}

#[test]
fn svc_is_an_exception_or_a_fault() {
    let mut machine = machine(&[SVC, NOP]);
    step(&mut machine, 1);
    let core = &machine.cores[0];
    assert_eq!((core.ipsr, core.pc), (11, handler(11)));
    let frame = core.r[13];
    assert_eq!(word(&mut machine, frame + 24), CODE + 2, "behind the SVC");

    let mut machine = self::machine(&[SVC, NOP]);
    machine.cores[0].primask = true;
    step(&mut machine, 1);
    let core = &machine.cores[0];
    assert_eq!(core.ipsr, HARD_FAULT);
    assert_eq!(core.last_fault, Some((Fault::Svc, CODE)));

    // at its own priority it cannot run either
    let mut machine = self::machine(&[SVC, NOP]);
    put(&mut machine, handler(11), &[SVC]);
    write(&mut machine, HANDLER_PRIORITY_2, 0x8000_0000);
    step(&mut machine, 2);
    assert_eq!(machine.cores[0].ipsr, HARD_FAULT);
}

#[test]
fn pendsv_is_set_and_cleared_by_software() {
    let mut machine = machine(&[NOP; 8]);
    write(&mut machine, HANDLER_PRIORITY_3, 0x00c0_0000);
    machine.cores[0].primask = true;
    write(&mut machine, CONTROL_STATE, 1 << 28);
    assert_eq!(read(&mut machine, CONTROL_STATE), 1 << 28 | 14 << 12);
    write(&mut machine, CONTROL_STATE, 1 << 27);
    assert_eq!(read(&mut machine, CONTROL_STATE), 0);
    write(&mut machine, CONTROL_STATE, 1 << 28);
    step(&mut machine, 2);
    assert_eq!(machine.cores[0].ipsr, 0, "PRIMASK holds it back");
    machine.cores[0].primask = false;
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].ipsr, 14);
    assert_eq!(read(&mut machine, CONTROL_STATE), 14);
}

#[test]
fn nmi_goes_above_primask_and_hardfault_above_all_but_it() {
    let mut machine = machine(&[NOP; 4]);
    machine.cores[0].primask = true;
    write(&mut machine, CONTROL_STATE, 1 << 31);
    put(&mut machine, handler(2), &[NOP, UDF]);
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].ipsr, 2);
    assert!(matches!(step(&mut machine, 4), Stop::Lockup { core: 0, .. }));
}

#[test]
fn systick_counts_reload_and_one() {
    let mut machine = machine(&[NOP; 200]);
    write(&mut machine, SYST_RELOAD, 99);
    write(&mut machine, SYST_VALUE, 5);
    write(&mut machine, SYST_CONTROL, 7);
    let start = machine.cores[0].cycles;
    step(&mut machine, 10);
    assert_eq!(read(&mut machine, SYST_VALUE), 90);
    assert_eq!(read(&mut machine, SYST_CONTROL), 7, "not at zero yet");
    while machine.cores[0].ipsr == 0 {
        step(&mut machine, 1);
    }
    assert_eq!(machine.cores[0].ipsr, 15);
    // it was entered between two instructions, and nothing of its handler has run
    assert_eq!(machine.cores[0].cycles - start, 100 + 15);
    assert_eq!(read(&mut machine, SYST_CONTROL), 0x1_0007);
    assert_eq!(read(&mut machine, SYST_CONTROL), 7, "reading clears COUNTFLAG");
    // without a reload it stops at zero
    write(&mut machine, SYST_RELOAD, 0);
    machine.cores[0].cycles += 1000;
    assert_eq!(read(&mut machine, SYST_CONTROL) >> 16, 1);
    machine.cores[0].cycles += 1000;
    assert_eq!(read(&mut machine, SYST_CONTROL) >> 16, 0);
    assert_eq!(read(&mut machine, SYST_VALUE), 0);
}

#[test]
fn the_nvic_keeps_what_a_line_asked_for() {
    let mut machine = machine(&[NOP; 4]);
    write(&mut machine, NVIC_ENABLE, 0x8000_0005);
    write(&mut machine, NVIC_DISABLE, 1);
    assert_eq!(read(&mut machine, NVIC_ENABLE), 0x8000_0004);
    assert_eq!(read(&mut machine, NVIC_DISABLE), 0x8000_0004);
    write(&mut machine, NVIC_PRIORITY + 28, 0xffff_ffff);
    assert_eq!(
        read(&mut machine, NVIC_PRIORITY + 28),
        0xc0c0_c0c0,
        "two bits each"
    );
    write(&mut machine, NVIC_PEND, 0x8000_0001);
    write(&mut machine, NVIC_UNPEND, 0x8000_0000);
    assert_eq!(read(&mut machine, NVIC_PEND), 1);
    write(&mut machine, NVIC_UNPEND, 1);
    // a line that falls again before its handler runs stays pending; one that stays high comes back
    let core = &mut machine.cores[0];
    core.set_interrupt_lines(1 << 2);
    core.set_interrupt_lines(0);
    assert_eq!(core.exceptions.pending_interrupts(), 1 << 2);
    core.set_interrupt_lines(1 << 2);
    let Machine { cores, chip, .. } = &mut machine;
    cores[0].service_exceptions(chip);
    assert_eq!(cores[0].ipsr, 18);
    assert_eq!(
        cores[0].exceptions.pending_interrupts(),
        0,
        "while its handler runs"
    );
    // it would chain to itself if it were still enabled
    cores[0].exceptions.enabled = 0;
    cores[0].exception_return(chip, 0xffff_fff9);
    assert_eq!(
        cores[0].exceptions.pending_interrupts(),
        1 << 2,
        "the line is still high"
    );
}

#[test]
fn sleep_ends_with_what_it_waits_for() {
    // WFI wakes for an interrupt that PRIMASK keeps from running
    let mut machine = machine(&[WFI, NOP, NOP]);
    machine.cores[0].primask = true;
    write(&mut machine, NVIC_ENABLE, 1);
    assert_eq!(step(&mut machine, 2), Stop::Asleep);
    assert_eq!(machine.cores[0].sleep, Sleep::Interrupt);
    write(&mut machine, NVIC_PEND, 1);
    step(&mut machine, 1);
    assert_eq!((machine.cores[0].pc, machine.cores[0].ipsr), (CODE + 4, 0));

    // but not for one that is not enabled
    let mut machine = self::machine(&[WFI, NOP]);
    write(&mut machine, NVIC_PEND, 1);
    assert_eq!(step(&mut machine, 2), Stop::Asleep);

    // SEV is an event for the core itself, and WFE takes it
    let mut machine = self::machine(&[SEV, WFE, WFE, NOP]);
    assert_eq!(step(&mut machine, 4), Stop::Asleep);
    assert_eq!(machine.cores[0].sleep, Sleep::Event);
    assert_eq!(
        machine.cores[0].pc,
        CODE + 6,
        "the first went on, the second waits"
    );

    // with SEVONPEND an interrupt that is not enabled is one too
    write(&mut machine, SYSTEM_CONTROL, 1 << 4);
    machine.cores[0].set_interrupt_lines(1 << 9);
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].pc, CODE + 8);

    // SLEEPONEXIT
    let mut machine = self::machine(&[NOP; 3]);
    write(&mut machine, SYSTEM_CONTROL, 2);
    write(&mut machine, NVIC_ENABLE, 1);
    write(&mut machine, NVIC_PEND, 1);
    assert_eq!(step(&mut machine, 3), Stop::Asleep);
    assert_eq!(machine.cores[0].instructions, 2, "the handler alone");
}

#[test]
fn the_system_control_space_is_privileged() {
    let mut machine = machine(&[0x6808]); // ldr r0, [r1]
    machine.cores[0].r[1] = 0xe000_ed00;
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].r[0], 0x410c_c601, "CPUID");
    let mut machine = self::machine(&[0x6808]);
    machine.cores[0].r[1] = 0xe000_ed00;
    machine.cores[0].write_special(20, 1);
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].ipsr, HARD_FAULT);
    assert_eq!(
        machine.cores[0].last_fault,
        Some((Fault::Bus { address: 0xe000_ed00 }, CODE))
    );
}
