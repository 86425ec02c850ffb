// Makes a fresh clone runnable: installs packages and builds, both only when needed. npm's pre hooks run it before
// start, test, bench and chaos. Plain node, as nothing is installed yet. Says what it does on stderr; stdout is not its.
//
//   node_modules/.millrace-lock   hash of the package-lock.json (and platform) that node_modules was installed from
//   dist/.millrace-build          hash of all sources at the last build without errors
//   .millrace/setup.lock          one setup at a time: {pid, startTime} of the one at work
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_MAJOR_MIN = 20;
const TAKEOVER_MS_MAX = 10_000;
const ASSET_ENDINGS = ['.html', '.css', '.svg'];

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = (...parts) => join(root, ...parts);
const dist = at('dist');

function say(line) {
  process.stderr.write(`${line}\n`);
}

function fail(line) {
  say(line);
  process.exitCode = 1;
  throw new Stop();
}

/** Ends the setup after its reason has been said. */
class Stop extends Error {}

function readOr(otherwise, path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
}

function hashOf(...parts) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest('hex');
}

function checkNode() {
  if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR_MIN) return;
  fail(`Millrace needs Node ${NODE_MAJOR_MIN} or newer; this is ${process.versions.node} (${process.execPath})`);
}

// --- one at a time ---------------------------------------------------------------------------------------------------

function startTime(pid) {
  const stat = readOr('', `/proc/${pid}/stat`);
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

function isAlive(owner) {
  try {
    process.kill(owner.pid, 0);
  } catch (e) {
    if (e.code !== 'EPERM') return false;
  }
  return startTime(owner.pid) === owner.startTime;
}

/** Creates a file with its content at once; false when it is there. */
function createWhole(path, content) {
  const unnamed = `${path}.${randomBytes(6).toString('hex')}`;
  writeFileSync(unnamed, content);
  try {
    linkSync(unnamed, path);
    return true;
  } catch (e) {
    if (e.code === 'EEXIST') return false;
    throw e;
  } finally {
    rmSync(unnamed);
  }
}

/** Removes the lock of a dead owner. The second lock makes sure that it is not a new one's that is removed. */
function takeOver(lock) {
  const takeover = `${lock}.takeover`;
  if (!createWhole(takeover, '')) {
    const since = statSync(takeover, { throwIfNoEntry: false })?.mtimeMs;
    if (since !== undefined && Date.now() - since > TAKEOVER_MS_MAX) rmSync(takeover, { force: true });
    return;
  }
  const owner = readOr('', lock);
  if (owner !== '' && !isAlive(JSON.parse(owner))) rmSync(lock, { force: true });
  rmSync(takeover, { force: true });
}

function locked(run) {
  const lock = at('.millrace', 'setup.lock');
  mkdirSync(dirname(lock), { recursive: true });
  const me = JSON.stringify({ pid: process.pid, startTime: startTime(process.pid) });
  const turn = new Int32Array(new SharedArrayBuffer(4));
  for (let waits = 0; !createWhole(lock, me); waits++) {
    const owner = readOr('', lock);
    if (owner !== '' && !isAlive(JSON.parse(owner))) takeOver(lock);
    else Atomics.wait(turn, 0, 0, 100);
    if (waits === 20 && owner !== '') say(`waiting for another setup (process ${JSON.parse(owner).pid}) ...`);
  }
  try {
    run();
  } finally {
    rmSync(lock, { force: true });
  }
}

// --- packages --------------------------------------------------------------------------------------------------------

/** Whether npm itself says (in its hidden lock file) that all of package-lock.json is installed: someone ran `npm ci`. */
function installedByHand(lockText) {
  const hidden = readOr('', at('node_modules', '.package-lock.json'));
  if (hidden === '') return false;
  const wanted = JSON.parse(lockText).packages ?? {};
  const have = JSON.parse(hidden).packages ?? {};
  for (const [path, { version, resolved }] of Object.entries(have)) {
    if (wanted[path]?.version !== version || wanted[path]?.resolved !== resolved) return false;
  }
  return Object.entries(wanted).every(
    ([path, entry]) =>
      path === '' || path in have || entry.optional || entry.devOptional || !path.includes('node_modules/'),
  );
}

function installPackages() {
  const lockText = readFileSync(at('package-lock.json'), 'utf8');
  const stamp = at('node_modules', '.millrace-lock');
  const wanted = hashOf(lockText, `${process.platform}-${process.arch}`);
  if (readOr('', stamp) === wanted) return;
  if (readOr('', stamp) !== '' || !installedByHand(lockText)) {
    say('installing packages ...');
    runNpm(['ci', '--include=dev', '--no-audit', '--no-fund']);
  }
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, wanted);
}

function runNpm(args) {
  // Under `npm pack --dry-run` and the like this still has to be a real install.
  const { npm_config_dry_run: _dryRun, npm_config_global: _global, ...env } = process.env;
  const options = { cwd: root, env, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 };
  const npm = process.env.npm_execpath;
  const done = npm?.endsWith('.js')
    ? spawnSync(process.execPath, [npm, ...args], options)
    : spawnSync('npm', args, { ...options, shell: process.platform === 'win32' });
  if (done.status === 0) return;
  process.stderr.write(`${done.stdout ?? ''}${done.stderr ?? ''}`);
  fail(`npm ${args[0]} failed (${done.error?.message ?? done.signal ?? `exit code ${done.status}`})`);
}

// --- build -----------------------------------------------------------------------------------------------------------

function* filesBelow(folder) {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (entry.isFile()) yield path;
  }
}

function findSources() {
  const { include } = JSON.parse(readFileSync(at('tsconfig.json'), 'utf8'));
  const all = include.flatMap((folder) => [...filesBelow(at(folder))]).map((path) => relative(root, path));
  return {
    code: all.filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts')).sort(),
    assets: all.filter((path) => ASSET_ENDINGS.some((ending) => path.endsWith(ending))).sort(),
  };
}

function build() {
  const { code, assets } = findSources();
  const settings = ['tsconfig.json', 'package.json', 'package-lock.json'];
  const inputs = [...settings, ...code, ...assets];
  const wanted = hashOf(...inputs.flatMap((path) => [path, readFileSync(at(path))]));
  const stamp = join(dist, '.millrace-build');
  const outputs = [...code.map((path) => path.replace(/\.ts$/, '.js')), ...assets];
  const complete = outputs.every((path) => existsSync(join(dist, path)));
  if (complete && readOr('', stamp) === wanted) return;

  say('building ...');
  rmSync(stamp, { force: true });
  // tsc believes its own notes about what is there.
  if (!complete) rmSync(join(dist, '.tsbuildinfo'), { force: true });
  removeStale(new Set(outputs));
  compile();
  for (const path of assets) {
    mkdirSync(dirname(join(dist, path)), { recursive: true });
    copyFileSync(at(path), join(dist, path));
  }
  const cli = join(dist, 'engine', 'cli', 'main.js');
  if (existsSync(cli)) chmodSync(cli, 0o755);
  writeFileSync(stamp, wanted);
}

function compile() {
  const compiler = at('node_modules', 'typescript', 'bin', 'tsc');
  const done = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.json'], { cwd: root, encoding: 'utf8' });
  if (done.status === 0) return;
  process.stderr.write(`${done.stdout ?? ''}${done.stderr ?? ''}`);
  fail('the build failed');
}

/** Removes from dist what no source stands behind any more, e.g. tests of removed files, which would still run. */
function removeStale(outputs) {
  for (const path of filesBelow(dist)) {
    const output = relative(dist, path)
      .replace(/\.d\.ts$/, '.js')
      .replace(/\.map$/, '');
    if (output.startsWith('.') || outputs.has(output)) continue;
    rmSync(path, { force: true });
    removeEmpty(dirname(path));
  }
}

function removeEmpty(folder) {
  if (folder === dist || readdirSync(folder).length > 0) return;
  rmdirSync(folder);
  removeEmpty(dirname(folder));
}

try {
  checkNode();
  locked(() => {
    installPackages();
    build();
  });
} catch (e) {
  if (!(e instanceof Stop)) {
    say(`setup failed: ${e.message}`);
    process.exitCode = 1;
  }
}
