//! What is refused is refused with the proposal's name and the offset of the byte; limits hold; traps say where they happened.
#![allow(missing_docs, reason = "tests")]

use picolet_wasm::{
    Arena, Error, ErrorKind, Extern, ImportRequest, Limits, Module, Outcome, Proposal, Reason, Store,
    StoreLimits, TrapKind, validate,
};

fn module(text: &str) -> Vec<u8> {
    let buffer = wast::parser::ParseBuffer::new(text).unwrap();
    wast::parser::parse::<wast::Wat<'_>>(&buffer)
        .unwrap()
        .encode()
        .unwrap()
}

fn refusal(bytes: &[u8]) -> Error {
    validate(bytes, &Limits::SMALL).unwrap_err()
}

#[test]
fn component_is_refused_with_the_remedy_at_its_version() {
    let error = refusal(b"\0asm\x0d\0\x01\0");
    assert_eq!(error.offset, 4);
    assert_eq!(
        error.to_string(),
        "unsupported proposal: component model (wasip2): build for wasm32-wasip1 at byte 4"
    );
}

#[test]
fn proposals_are_refused_by_name_when_a_module_uses_them() {
    let cases = [
        (
            "(module (func (result v128) v128.const i64x2 0 0))",
            Proposal::Simd,
        ),
        ("(module (func v128.const i64x2 0 0 drop))", Proposal::Simd),
        ("(module (memory 1 1 shared))", Proposal::Threads),
        (
            "(module (memory 1) (func i32.const 0 i32.atomic.load drop))",
            Proposal::Threads,
        ),
        ("(module (tag))", Proposal::ExceptionHandling),
        ("(module (func try_table end))", Proposal::ExceptionHandling),
        ("(module (memory i64 1))", Proposal::Memory64),
        ("(module (memory 1) (memory 1))", Proposal::MultiMemory),
        (
            "(module (memory 1) (func i32.const 0 i32.load 1 drop))",
            Proposal::MultiMemory,
        ),
        ("(module (func $f return_call $f))", Proposal::TailCalls),
        ("(module (type (struct)))", Proposal::GarbageCollection),
        ("(module (func ref.null any drop))", Proposal::GarbageCollection),
        (
            "(module (type $t (func)) (func (param (ref $t))))",
            Proposal::FunctionReferences,
        ),
        (
            "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))",
            Proposal::ExtendedConst,
        ),
        (
            "(module (func i64.const 0 i64.const 0 i64.mul_wide_u drop drop))",
            Proposal::WideArithmetic,
        ),
    ];
    for (text, proposal) in cases {
        let error = refusal(&module(text));
        assert_eq!(error.kind, ErrorKind::Unsupported(proposal), "{text}");
        assert!(error.offset > 8, "{text}");
    }
}

#[test]
fn refusal_names_the_offset_of_the_opcode_when_an_instruction_is_not_known() {
    let bytes = module("(module (func nop v128.const i64x2 0 0 drop))");
    let opcode = bytes.iter().position(|byte| *byte == 0xfd).unwrap();
    assert_eq!(refusal(&bytes).offset, opcode as u32);
}

#[test]
fn module_is_refused_when_it_exceeds_a_limit() {
    let cases = [
        ("(module (memory 33))", Reason::PagesOfMemory),
        ("(module (table 1025 funcref))", Reason::ElementsOfATable),
        (
            &*format!("(module (func {}))", "(local i64)".repeat(257)),
            Reason::LocalsOfAFunction,
        ),
        (
            &*format!("(module (func {} {}))", "block ".repeat(129), "end ".repeat(129)),
            Reason::NestedBlocks,
        ),
        (
            &*format!(
                "(module (func {} {}))",
                "i32.const 1 ".repeat(257),
                "drop ".repeat(257)
            ),
            Reason::OperandsOfAFunction,
        ),
    ];
    for (text, reason) in cases {
        assert_eq!(
            refusal(&module(text)).kind,
            ErrorKind::Limit(reason),
            "{text:.60}"
        );
    }
}

#[test]
fn trap_names_function_offset_and_name() {
    let bytes = module(
        r#"(module (func $first nop) (func $second (export "run") (param i32) (result i32)
            i32.const 7 local.get 0 i32.div_u))"#,
    );
    let module = std::rc::Rc::new(Module::load(&bytes, &Limits::SMALL).unwrap());
    let mut store = Store::new(&Arena::on_heap(1), StoreLimits::default());
    let instance = store
        .instantiate(module.clone(), &mut |_: &ImportRequest<'_>| None)
        .unwrap();
    let Some(Extern::Function(run)) = store.export(instance, "run") else {
        panic!()
    };
    store.call(run, &[picolet_wasm::Value::I32(0)]).unwrap();
    let Outcome::Trap(trap) = store.run(&mut 1000) else {
        panic!()
    };
    assert_eq!((trap.kind, trap.function), (TrapKind::DivisionByZero, 1));
    assert_eq!(bytes[trap.offset as usize], 0x6e, "the opcode of i32.div_u");
    assert_eq!(module.function_name(trap.function), Some("second"));
}

#[test]
fn program_stops_at_a_host_call_and_goes_on_with_its_results() {
    let bytes = module(
        r#"(module (import "host" "ask" (func $ask (param i64) (result i64)))
            (func (export "run") (result i64) (i64.add (call $ask (i64.const 5)) (i64.const 1))))"#,
    );
    let module = Module::load(&bytes, &Limits::SMALL).unwrap();
    let mut store = Store::new(&Arena::on_heap(1), StoreLimits::default());
    let instance = store
        .instantiate(module.into(), &mut |_: &ImportRequest<'_>| Some(Extern::Host(9)))
        .unwrap();
    let Some(Extern::Function(run)) = store.export(instance, "run") else {
        panic!()
    };
    store.call(run, &[]).unwrap();
    let mut fuel = 1000;
    assert_eq!(store.run(&mut fuel), Outcome::HostCall { number: 9, instance });
    assert_eq!(
        store.run(&mut fuel),
        Outcome::HostCall { number: 9, instance },
        "until it is resumed"
    );
    assert!(matches!(store.arguments()[..], [picolet_wasm::Value::I64(5)]));
    assert!(store.resume(&[]).is_err(), "results of other types");
    store.resume(&[picolet_wasm::Value::I64(1 << 40)]).unwrap();
    assert_eq!(store.run(&mut fuel), Outcome::Finished);
    assert!(matches!(store.results()[..], [picolet_wasm::Value::I64(result)] if result == (1 << 40) + 1));
}
