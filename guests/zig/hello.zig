//! The smallest Zig program. std.debug.print writes to standard error, as in every Zig program.

const std = @import("std");

pub fn main() void {
    std.debug.print("Hello, world!\n", .{});
}
