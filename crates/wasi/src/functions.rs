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

/// The row of a table whose name it is.
fn find(table: &str, name: &str) -> Option<usize> {
    table.split('\n').position(|row| {
        let parameters = row.strip_prefix(name);
        parameters.is_some_and(|parameters| parameters.starts_with(' '))
    })
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

            /// Names and parameters, one after another: two thirds of what a table of strings takes.
            const TABLE: &'static str = concat!($($name, " ", $parameters, "\n",)*);

            /// Finds a function by the name of its import.
            #[must_use]
            pub fn find(name: &str) -> Option<Self> {
                Self::ALL.get(find(Self::TABLE, name)?).copied()
            }

            /// Its name and its parameters.
            fn row(self) -> (&'static str, &'static str) {
                let row = Self::TABLE.split('\n').nth(self as usize).unwrap_or_default();
                row.split_once(' ').unwrap_or_default()
            }
        }
    };
}

pub(crate) mod picolet;
pub(crate) mod preview1;
