//! The program that `cargo new` makes.

fn main() {
    println!("Hello, world!");
}
