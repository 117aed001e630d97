// The smallest AssemblyScript program, over @assemblyscript/wasi-shim.
console.log("Hello, world!");
