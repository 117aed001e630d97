//! Files and directories, by the standard library.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};

use crate::{Program, say};

fn names(path: &str) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let kind = (kind.is_dir(), kind.is_file(), kind.is_symlink());
        names.push(format!("{} {kind:?}", entry.file_name().display()));
    }
    names.sort();
    Ok(names)
}

pub(crate) const PROGRAMS: [Program; 32] = [
    ("read", || {
        say("text", fs::read_to_string("/etc/text"));
        say("relative", fs::read_to_string("etc/text"));
        say("empty", fs::read_to_string("/etc/empty"));
        Ok(())
    }),
    ("write", || {
        say("write", fs::write("/new", "some text"));
        say("read", fs::read_to_string("/new"));
        say("shorter", fs::write("/new", "less"));
        say("read", fs::read_to_string("/new"));
        Ok(())
    }),
    ("append", || {
        let mut file = OpenOptions::new().append(true).open("/etc/text")?;
        say("write", file.write_all(b" and more"));
        say("position", file.stream_position());
        say("read", fs::read_to_string("/etc/text"));
        Ok(())
    }),
    ("append-after-seek", || {
        let mut file = OpenOptions::new().append(true).read(true).open("/etc/text")?;
        say("seek", file.seek(SeekFrom::Start(1)));
        say("write", file.write_all(b"!"));
        say("position", file.stream_position());
        say("read", fs::read_to_string("/etc/text"));
        Ok(())
    }),
    ("seek", || {
        let mut file = File::open("/etc/text")?;
        let mut buffer = [0; 4];
        say("end", file.seek(SeekFrom::End(-3)));
        say("read", file.read(&mut buffer));
        say("read", file.read(&mut buffer));
        say("back", file.seek(SeekFrom::Current(-8)));
        say("read", file.read_exact(&mut buffer));
        say("before", file.seek(SeekFrom::Current(-100)));
        say("beyond", file.seek(SeekFrom::Start(1_000)));
        say("read", file.read(&mut buffer));
        println!("{buffer:?}");
        Ok(())
    }),
    ("missing", || {
        say("read", fs::read("/none"));
        say("in a missing folder", fs::write("/none/file", ""));
        say("metadata", fs::metadata("/none").map(|_| ()));
        Ok(())
    }),
    ("create-new", || {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        say("existing", options.open("/etc/text").map(|_| ()));
        say("new", options.open("/fresh").map(|_| ()));
        say("again", options.open("/fresh").map(|_| ()));
        say("link", options.open("/dangling").map(|_| ()));
        Ok(())
    }),
    ("mkdir", || {
        say("new", fs::create_dir("/made"));
        say("again", fs::create_dir("/made"));
        say("over a file", fs::create_dir("/etc/text"));
        say("without parent", fs::create_dir("/a/b"));
        say("all", fs::create_dir_all("/a/b/c"));
        say("slash", fs::create_dir("/slash/"));
        say("names", names("/"));
        Ok(())
    }),
    ("rmdir", || {
        say("not empty", fs::remove_dir("/dir"));
        say("file", fs::remove_dir("/etc/text"));
        say("missing", fs::remove_dir("/none"));
        say("link", fs::remove_dir("/folder"));
        say("make", fs::create_dir("/made"));
        say("empty", fs::remove_dir("/made"));
        say("all", fs::remove_dir_all("/dir"));
        say("names", names("/"));
        Ok(())
    }),
    ("unlink", || {
        say("file", fs::remove_file("/dir/one"));
        say("again", fs::remove_file("/dir/one"));
        say("directory", fs::remove_file("/dir"));
        say("link", fs::remove_file("/link"));
        say("target", fs::read_to_string("/etc/text"));
        say("names", names("/dir"));
        Ok(())
    }),
    ("unlink-open", || {
        let mut file = OpenOptions::new().read(true).write(true).open("/dir/one")?;
        say("unlink", fs::remove_file("/dir/one"));
        say("write", file.write_all(b"still there"));
        say("seek", file.rewind());
        let mut text = String::new();
        say("read", file.read_to_string(&mut text));
        println!("{text:?}");
        say("metadata", fs::metadata("/dir/one").map(|_| ()));
        Ok(())
    }),
    ("rename", || {
        say("file", fs::rename("/dir/one", "/dir/three"));
        say("names", names("/dir"));
        say("over", fs::rename("/dir/three", "/dir/two"));
        say("names", names("/dir"));
        say("to another folder", fs::rename("/dir/two", "/etc/two"));
        say("missing", fs::rename("/none", "/some"));
        say("itself", fs::rename("/etc/two", "/etc/two"));
        say("names", names("/etc"));
        Ok(())
    }),
    ("rename-directory", || {
        say("make", fs::create_dir("/made"));
        say("over an empty one", fs::rename("/dir", "/made"));
        say("names", names("/made"));
        say("over a file", fs::rename("/made", "/etc/text"));
        say("file over it", fs::rename("/etc/text", "/made"));
        say("into itself", fs::rename("/made", "/made/inside"));
        say("over a full one", fs::rename("/etc", "/made"));
        Ok(())
    }),
    ("read-dir", || {
        say("root", names("/"));
        say("dir", names("/dir"));
        say("by a link", names("/folder"));
        say("file", names("/etc/text"));
        say("missing", names("/none"));
        Ok(())
    }),
    ("read-dir-long", || {
        for number in 0..100 {
            fs::write(format!("/dir/a-file-with-a-longer-name-{number}"), "")?;
        }
        let names = names("/dir")?;
        println!("{} {:?} {:?}", names.len(), names.first(), names.last());
        Ok(())
    }),
    ("metadata", || {
        for path in ["/", "/etc/text", "/etc/empty", "/dir", "/link", "/folder"] {
            for (how, found) in [("of", fs::metadata(path)), ("at", fs::symlink_metadata(path))] {
                let found = found.map(|found| {
                    let length = if found.is_file() { found.len() } else { 0 };
                    (length, found.is_dir(), found.is_file(), found.is_symlink())
                });
                say(&format!("{how} {path}"), found);
            }
        }
        Ok(())
    }),
    ("open-directory", || {
        say(
            "read",
            File::open("/dir").and_then(|mut file| file.read(&mut [0; 4])),
        );
        say("write", OpenOptions::new().write(true).open("/dir").map(|_| ()));
        say("create", File::create("/dir").map(|_| ()));
        Ok(())
    }),
    ("escape", || {
        say("up", fs::read("../etc/passwd"));
        say("up from the root", fs::read("/../etc/text"));
        say("down and up", fs::read("/dir/../etc/text"));
        say("too far up", fs::read("/dir/../../etc/text"));
        say("by a link", fs::read("/up"));
        say("write by a link", fs::write("/up", "out"));
        Ok(())
    }),
    ("dots", || {
        say("dot", fs::read_to_string("./etc/./text"));
        say("slashes", fs::read_to_string("//etc///text"));
        say("names", names("."));
        say("up of a link", fs::read_to_string("/folder/../etc/text"));
        say("up of a missing one", fs::read_to_string("/none/../etc/text"));
        say("up of a file", fs::read_to_string("/etc/text/../text"));
        Ok(())
    }),
    ("trailing-slash", || {
        say("file", fs::read("/etc/text/"));
        say("directory", fs::metadata("/dir/").map(|found| found.is_dir()));
        say(
            "link",
            fs::symlink_metadata("/folder/").map(|found| found.is_dir()),
        );
        say("new file", fs::write("/fresh/", ""));
        say("unlink", fs::remove_file("/etc/text/"));
        Ok(())
    }),
    ("not-a-directory", || {
        say("read", fs::read("/etc/text/inside"));
        say("write", fs::write("/etc/text/inside", ""));
        say("make", fs::create_dir("/etc/text/inside"));
        Ok(())
    }),
    ("names", || {
        say("long", fs::write(format!("/{}", "n".repeat(120)), ""));
        say("too long", fs::write(format!("/{}", "n".repeat(300)), ""));
        say("spaces", fs::write("/a name\twith space", ""));
        say("unicode", fs::write("/größe-测试", ""));
        say("names", names("/").map(|names| names.len()));
        say("unicode", fs::read("/größe-测试"));
        Ok(())
    }),
    ("links", || {
        say("follow", fs::read_to_string("/link"));
        say(
            "read",
            fs::read_link("/link").map(|path| path.display().to_string()),
        );
        say("not a link", fs::read_link("/etc/text").map(|_| ()));
        say("folder", fs::read("/folder/one"));
        say("loop", fs::read("/loop"));
        say("dangling", fs::read("/dangling"));
        say("write through", fs::write("/link", "changed"));
        say("target", fs::read_to_string("/etc/text"));
        Ok(())
    }),
    ("rename-links", || {
        say("link", fs::rename("/link", "/moved"));
        say("follow", fs::read_to_string("/moved"));
        say("over a link", fs::rename("/dir/one", "/moved"));
        say("target", fs::read_to_string("/etc/text"));
        Ok(())
    }),
    ("read-only-descriptor", || {
        let mut file = File::open("/etc/text")?;
        say("write", file.write(b"x"));
        say("length", file.set_len(1));
        Ok(())
    }),
    ("write-only-descriptor", || {
        let mut file = OpenOptions::new().write(true).open("/etc/text")?;
        say("read", file.read(&mut [0; 4]));
        say("write", file.write(b"J"));
        say("text", fs::read_to_string("/etc/text"));
        Ok(())
    }),
    ("set-length", || {
        let file = OpenOptions::new().write(true).open("/etc/text")?;
        say("shorter", file.set_len(4));
        say("text", fs::read_to_string("/etc/text"));
        say("longer", file.set_len(8));
        say("text", fs::read_to_string("/etc/text"));
        Ok(())
    }),
    ("hole", || {
        let mut file = File::create("/hole")?;
        say("seek", file.seek(SeekFrom::Start(20)));
        say("write", file.write_all(b"end"));
        say("read", fs::read("/hole"));
        Ok(())
    }),
    ("copy", || {
        say("copy", fs::copy("/etc/text", "/copy"));
        say("text", fs::read_to_string("/copy"));
        say("directory", fs::copy("/dir", "/copy"));
        Ok(())
    }),
    ("two-descriptors", || {
        let mut first = OpenOptions::new().read(true).write(true).open("/etc/text")?;
        let mut second = File::open("/etc/text")?;
        say("write", first.write_all(b"HELLO"));
        let mut text = String::new();
        say("read", second.read_to_string(&mut text));
        println!("{text:?}");
        say("truncate", File::create("/etc/text").map(|_| ()));
        say("rest", first.read(&mut [0; 4]));
        Ok(())
    }),
    ("sync", || {
        let file = File::create("/synced")?;
        say("all", file.sync_all());
        say("data", file.sync_data());
        Ok(())
    }),
    ("lines", || {
        fs::write("/lines", "one\ntwo\n\nfour")?;
        let text = fs::read_to_string("/lines")?;
        text.lines().for_each(|line| println!("{line:?}"));
        Ok(())
    }),
];
