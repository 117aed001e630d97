//! What `picotool info` says of a board, without running anything.
//!
//! The version is that of the firmware in slot A, not of the bootloader: its entry points to where every application has its version,
//! behind its vector table. Where an update made slot B run, the version is the one before the update.

use rp_binary_info::{EntryAddr, consts};

use crate::LAYOUT;

#[unsafe(link_section = ".bi_entries")]
#[used]
static ENTRIES: [EntryAddr; 4] = [
    rp_binary_info::rp_program_name!(c"picolet"),
    rp_binary_info::rp_program_description!(c"A Kubernetes node"),
    rp_binary_info::rp_program_url!(c"https://picolet.dev"),
    #[cfg(target_abi = "eabi")]
    rp_binary_info::rp_pico_board!(c"pico_w"),
    #[cfg(target_abi = "eabihf")]
    rp_binary_info::rp_pico_board!(c"pico2_w"),
];

/// An entry with a string (`binary_info_id_and_string_t` of the Pico SDK) that is not part of this program.
#[repr(C)]
struct Elsewhere {
    data_type: u16,
    tag: [u8; 2],
    id: u32,
    string: u32,
}

static VERSION: Elsewhere = Elsewhere {
    data_type: rp_binary_info::DataType::IdAndString as u16,
    tag: *b"RP",
    id: consts::ID_RP_PROGRAM_VERSION_STRING,
    string: LAYOUT.slots[0].address()
        + picolet_store::layout::IMAGE_OFFSET
        + picolet_store::layout::VERSION_OFFSET,
};

/// The address of an entry, as the table has them.
#[repr(transparent)]
struct Address(#[allow(dead_code, reason = "read by picotool")] &'static Elsewhere);

#[unsafe(link_section = ".bi_entries")]
#[used]
static VERSION_ENTRY: Address = Address(&VERSION);
