"""Runs programs of a module with wasmtime and its WASI: comparison.py MODULE NAME...

Each program gets its name as its argument and a fresh root with the files that guests/probes expects. A line of the output is a JSON list:
the name, the exit code or "trap", and what the program wrote.
"""

import json
import os
import sys
import tempfile

import wasmtime

FILES = {"etc/text": "hello, world", "etc/empty": "", "dir/one": "1", "dir/two": "22"}
LINKS = {
    "link": "etc/text",
    "folder": "dir",
    "loop": "loop",
    "dangling": "nowhere",
    "up": "../outside",
}


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def run(linker, module, name, folder):
    root, streams = f"{folder}/root", f"{folder}/streams"
    write(f"{folder}/outside", "outside")
    for path, text in FILES.items():
        write(f"{root}/{path}", text)
    for link, target in LINKS.items():
        os.symlink(target, f"{root}/{link}")
    write(f"{streams}/input", "line one\nline two")
    config = wasmtime.WasiConfig()
    config.argv = ["app.wasm", name]
    config.env = [("NAME", "value"), ("EMPTY", "")]
    config.stdin_file = f"{streams}/input"
    config.stdout_file = f"{streams}/output"
    config.stderr_file = f"{streams}/errors"
    config.preopen_dir(root, "/")
    store = wasmtime.Store(linker.engine)
    store.set_wasi(config)
    end = "0"
    try:
        linker.instantiate(store, module).exports(store)["_start"](store)
    except wasmtime.ExitTrap as error:
        end = str(error.code)
    except (wasmtime.Trap, wasmtime.WasmtimeError):
        end = "trap"
    store.close()
    return end, read(f"{streams}/output") + read(f"{streams}/errors")


def main():
    linker = wasmtime.Linker(wasmtime.Engine())
    linker.define_wasi()
    module = wasmtime.Module.from_file(linker.engine, sys.argv[1])
    for name in sys.argv[2:]:
        with tempfile.TemporaryDirectory() as folder:
            end, text = run(linker, module, name, folder)
            print(json.dumps([name, end, text]))


main()
