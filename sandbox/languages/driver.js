// Runs a program under node: as a script, or to answer calls on descriptor 3 (see wire.py).
'use strict';
const fs = require('fs');
const Module = require('module');
const SOURCE = 5, CHANNEL = 3, MAX_DEPTH = 100;

const readFileSync = fs.readFileSync;
// There is no /proc in the jail, which is where /dev/stdin would lead.
fs.readFileSync = (path, ...rest) => readFileSync(path === '/dev/stdin' ? 0 : path, ...rest);

function load(source) {
  const module = new Module('/tmp/main.js', null);
  module.filename = '/tmp/main.js';
  module._compile(source, module.filename);
  return module;
}

function isModule(error) {
  return error.code === 'ERR_REQUIRE_ASYNC_MODULE' || error instanceof SyntaxError &&
    /import statement|await|import\.meta|token 'export'/.test(error.message);
}

async function script(source) {
  process.on('uncaughtException', (error) => {
    const text = error instanceof Error ? `${error.stack}\n${error.name}: ${error.message}` : String(error);
    fs.writeSync(2, text + '\n');
    process.exit(1);
  });
  const module = new Module('/tmp/main.js', null);
  module.filename = '/tmp/main.js';
  process.mainModule = module;  // so that require.main === module
  try {
    module._compile(source, module.filename);
  } catch (error) {
    if (!isModule(error)) throw error;
    await import('data:text/javascript;base64,' + Buffer.from(source).toString('base64'));
  }
}

function readExactly(length) {
  const buffer = Buffer.alloc(length);
  for (let done = 0; done < length;) {
    const count = fs.readSync(CHANNEL, buffer, done, length - done, null);
    if (count === 0) return null;
    done += count;
  }
  return buffer;
}

function read() {
  const head = readExactly(4);
  return head === null ? null : JSON.parse(readExactly(head.readUInt32BE(0)).toString());
}

function write(text) {
  const body = Buffer.from(text);
  const frame = Buffer.alloc(4 + body.length);
  frame.writeUInt32BE(body.length, 0);
  body.copy(frame, 4);
  for (let done = 0; done < frame.length;) done += fs.writeSync(CHANNEL, frame, done);
}

function decode(value) {
  if (Array.isArray(value)) return value.map(decode);
  if (value === null || typeof value !== 'object') return value;
  const [[tag, content]] = Object.entries(value);
  if (tag === 'f') return content === 'nan' ? NaN : content === 'inf' ? Infinity : -Infinity;
  if (tag === 's' || tag === 'z') return new Set(content.map(decode));
  if (tag === 'd') return Object.fromEntries(content.map((pair) => pair.map(decode)));
  return content.map(decode);
}

function encode(value, depth = 0) {
  if (value === undefined || value === null) return 'null';
  const kind = typeof value;
  if (kind === 'boolean' || kind === 'bigint') return String(value);
  if (kind === 'string') return JSON.stringify(value);
  if (kind === 'number') {
    // Digits beyond 2^53 would be rounded ones: give the exact value.
    if (Number.isInteger(value) && !Number.isSafeInteger(value)) return String(BigInt(value));
    if (Number.isFinite(value)) return String(value);
    return `{"f": "${Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf'}"}`;
  }
  if (depth >= MAX_DEPTH) throw new TypeError('nested too deeply');
  const all = (items) => `[${Array.from(items, (item) => encode(item, depth + 1)).join(', ')}]`;
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return all(value);
  if (value instanceof Set) return `{"s": ${all(value)}}`;
  const plain = [Object.prototype, null].includes(Object.getPrototypeOf(value));
  if (kind !== 'object' || !(plain || value instanceof Map)) throw new TypeError('not plain data');
  const pairs = value instanceof Map ? [...value] : Object.entries(value);
  return `{"d": ${all(pairs.map(([key, item]) => [String(key), item]))}}`;
}

function describe(error) {
  const name = error && error.name ? error.name : typeof error;
  return JSON.stringify([String(name).slice(0, 300), String(error && error.message).slice(0, 300)])
    .slice(1, -1);
}

function find(module, name) {
  const [owner, method] = name.split('().');
  let found;
  try {
    found = module.find(owner);
  } catch {
    found = module.exports[owner];
  }
  if (method === undefined) return found;
  const made = new found();
  return made[method].bind(made);
}

async function respond(module, [number, name, positional, named]) {
  let result;
  try {
    if (Object.keys(named).length) throw new TypeError('JavaScript has no keyword arguments');
    result = await find(module, name)(...positional.map(decode));
  } catch (error) {
    return write(`[[${number}, "raised", ${describe(error)}]]`);
  }
  let text;
  try {
    text = encode(result);
  } catch (error) {
    return write(`[[${number}, "opaque", ${JSON.stringify(String(error.message))}]]`);
  }
  write(`[[${number}, "value", ${text}]]`);
}

async function calls(source) {
  let module;
  try {
    module = load(source + '\n;module.find = (name) => eval(name);\n');
  } catch (error) {
    return write(`["broken", ${describe(error)}]`);
  }
  write('["ready"]');
  for (let question = read(); question !== null; question = read()) await respond(module, question);
}

const way = process.argv[1];
const source = readFileSync(SOURCE, 'utf8');
process.argv = ['node', '/tmp/main.js'];
if (way === 'calls') calls(source).then(() => process.exit(0));
else script(source);
