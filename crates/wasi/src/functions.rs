//! The names and types of what guests import.

/// The type of a host function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Name of the import.
    pub name: &'static str,
    /// A letter for each parameter: `i` is i32, `I` is i64. An i64 takes two slots of the arguments, the lower half first.
    pub parameters: &'static str,
    /// Whether it returns an i32.
    pub returns: bool,
}

/// Declares the functions of a module and their table.
macro_rules! functions {
    ($(#[$meta:meta])* $($variant:ident = $name:literal ($parameters:literal)),* $(,)?) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "named as in the interface")]
        pub enum Function {
            $($variant,)*
        }

        impl Function {
            /// All of them, in the order of their names.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            const NAMES: &'static [(&'static str, &'static str)] = &[$(($name, $parameters),)*];

            /// Finds a function by the name of its import.
            #[must_use]
            pub fn find(name: &str) -> Option<Self> {
                let index = Self::NAMES.iter().position(|(known, _)| *known == name)?;
                Self::ALL.get(index).copied()
            }
        }
    };
}

pub(crate) mod picolet;
pub(crate) mod preview1;
