//! Nodes against the in-memory cluster: its faults one by one and at random, and what an agent takes of the heap.

mod abuse;
mod faults;
mod heap;
mod time;
mod world;
