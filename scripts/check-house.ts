// Holds the rules of the house (docs: "The house: one way down"): what a file may import, who may
// spawn, who may wait, how long a file is, and that no test sleeps. dependency-cruiser cannot read
// TypeScript 7 sources and knows nothing of calls; Vitest brings a parser that does.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { parseAst } from 'vitest/node'

/** From the ground up. A folder that is not here has no place yet. */
const FLOORS = [
  ['.'], // the small shared words, src/*.ts
  ['host', 'trace'],
  ['image', 'lease', 'console'],
  ['guest-protocol'],
  ['qemu'],
  ['vm'],
  ['fleet', 'virt'],
  ['runner', 'cli', 'dts', 'dpdk', 'report'],
  ['index.ts', 'plugin.ts'],
]

/** Packages that only some folders or files of src/ may import. */
const RESERVED = [
  { packages: /^vitest(\/|$)/, places: ['runner', 'index.ts', 'plugin.ts'] },
  { packages: /^((node:)?child_process|execa|@lydell\/node-pty)$/, places: ['host'] },
  { packages: /^(node:)?(timers(\/promises)?|perf_hooks)$/, places: ['time.ts'] },
]

const TIMERS = ['setTimeout', 'setInterval', 'setImmediate']
/** Globals that a test may replace (`vi.useFakeTimers`). `new Date(ms)` reads no clock. */
const CLOCKS = /^(performance|Date)(\.|$)|^Date\(\)$|^process\.hrtime$|^AbortSignal\.timeout$/
/** Globals that a test environment may replace (happy-dom). */
const SIGNALS = /^AbortSignal\.(any|abort)$|^AbortController\(\)$/
const SLEEPS = ['setTimeout', 'sleep', 'delay', 'pause']
const MOST_LINES = 250

export interface Breach {
  file: string
  line: number
  rule: string
}

interface Source {
  file: string
  text: string
  /** What it imports: files by their path in the project, packages by their name. */
  imports: { to: string; at: number }[]
  calls: { name: string; constant: boolean; at: number }[]
  /** Names that it imports. */
  names: Set<string>
  /** Members that it reads, as `object.member`, and objects that it makes without arguments, as `Name()`. */
  uses: { name: string; at: number }[]
}

/** Every breach of the rules in the project at `root`, file by file. */
export function checkHouse(root: string): Breach[] {
  const breaches: Breach[] = []
  const house = readSources(root, 'src')
  for (const source of house) {
    const report = (at: number, rule: string) => breaches.push(breach(source, at, rule))
    checkImports(source, report)
    checkTimers(source, report)
    checkClocks(source, report)
    checkSignals(source, report)
    checkLength(source, report)
  }
  checkCircles(house, breaches)
  for (const folder of ['test', 'examples', 'bench']) {
    for (const source of readSources(root, folder)) {
      checkSleeps(source, (at, rule) => breaches.push(breach(source, at, rule)))
    }
  }
  return breaches
}

type Report = (at: number, rule: string) => void

function checkImports({ file, imports }: Source, report: Report): void {
  const place = placeOf(file)
  const floor = floorOf(place)
  if (floor < 0)
    report(0, `src/${place} is on no floor of the house: give it one in check-house.ts`)
  for (const { to, at } of imports) {
    if (!to.startsWith('src/')) {
      for (const { packages, places } of RESERVED) {
        if (!packages.test(to) || places.includes(place) || places.includes(file.slice(4))) continue
        report(
          at,
          `${to} may be imported only by ${places.map((name) => `src/${name}`).join(', ')}`,
        )
      }
      continue
    }
    const other = placeOf(to)
    if (other === place || floor < 0) continue
    if (floorOf(other) > floor) report(at, `imports upward: ${to} is on a higher floor`)
    if (floorOf(other) === floor)
      report(at, `imports sideways: ${to} is in another folder of its floor`)
  }
}

function checkTimers({ file, calls, names }: Source, report: Report): void {
  for (const { name, at } of calls) {
    if (!TIMERS.includes(name)) continue
    if (file !== 'src/wait.ts')
      report(at, `${name} is called only in src/wait.ts: wait through that`)
    else if (!names.has(name)) report(at, clockRule(name))
  }
}

const clockRule = (name: string) =>
  `${name} may be a test's own: take timers and clocks from src/time.ts`

function checkClocks({ file, names, uses }: Source, report: Report): void {
  if (file === 'src/time.ts') return
  for (const { name, at } of uses) {
    if (!CLOCKS.test(name) || names.has(name.split('.')[0] ?? '')) continue
    report(at, clockRule(name))
  }
}

function checkSignals({ file, names, uses }: Source, report: Report): void {
  if (file === 'src/abort.ts') return
  for (const { name, at } of uses) {
    const [global = ''] = name.split(/[.(]/)
    if (!SIGNALS.test(name) || names.has(global)) continue
    report(at, `${global} may be a test environment's own: take it from src/abort.ts`)
  }
}

function checkLength({ text }: Source, report: Report): void {
  const lines = text.split('\n').length - 1
  if (lines > MOST_LINES) report(text.length - 1, `has ${lines} lines, more than ${MOST_LINES}`)
}

function checkSleeps({ calls }: Source, report: Report): void {
  for (const { name, constant, at } of calls) {
    if (!constant || !SLEEPS.includes(name)) continue
    report(
      at,
      `${name} with a fixed time: wait for what is to happen, with a deadline (src/wait.ts)`,
    )
  }
}

/** Each circle once, at the import that closes it. */
function checkCircles(sources: Source[], breaches: Breach[]): void {
  const byFile = new Map(sources.map((source) => [source.file, source]))
  const done = new Set<string>()
  const visit = (source: Source, path: string[]) => {
    if (done.has(source.file)) return
    const here = [...path, source.file]
    for (const { to, at } of source.imports) {
      const start = here.indexOf(to)
      if (start >= 0) {
        const circle = [...here.slice(start), to].join(' → ')
        breaches.push(breach(source, at, `imports in a circle: ${circle}`))
        continue
      }
      const next = byFile.get(to)
      if (next !== undefined) visit(next, here)
    }
    done.add(source.file)
  }
  for (const source of sources) visit(source, [])
}

/** The folder of src/ that a file is in; the roof's files stand for themselves. */
function placeOf(file: string): string {
  const [, name = '', ...inside] = file.split('/')
  if (inside.length > 0) return name
  return floorOf(name) > 0 ? name : '.'
}

function floorOf(place: string): number {
  return FLOORS.findIndex((places) => places.includes(place))
}

function breach({ file, text }: Source, at: number, rule: string): Breach {
  return { file, line: text.slice(0, at).split('\n').length, rule }
}

function readSources(root: string, folder: string): Source[] {
  let names: string[] = []
  try {
    names = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const files = names.filter((name) => name.endsWith('.ts') && !name.includes('node_modules'))
  return files.sort().map((name) => readSource(root, `${folder}/${name}`))
}

function readSource(root: string, file: string): Source {
  const text = readFileSync(join(root, file), 'utf8')
  const source: Source = { file, text, imports: [], calls: [], names: new Set(), uses: [] }
  walk(parseAst(text, { lang: 'ts' }), (node) => {
    const to = node.source?.value
    if (typeof to === 'string') {
      const path = to.startsWith('.') ? relative(root, join(root, dirname(file), to)) : to
      source.imports.push({ to: path, at: node.start })
    }
    if (node.type === 'ImportSpecifier') source.names.add(node.local?.name ?? '')
    if (node.type === 'MemberExpression') {
      const { object, property } = node
      const name = [object?.name, property?.name].filter((word) => word !== 'globalThis').join('.')
      source.uses.push({ name, at: node.start })
    }
    if (node.type === 'NewExpression' && node.arguments?.length === 0) {
      source.uses.push({ name: `${node.callee?.name}()`, at: node.start })
    }
    if (node.type === 'CallExpression') {
      const name = node.callee?.name ?? node.callee?.property?.name ?? ''
      const constant = (node.arguments ?? []).some(isConstant)
      source.calls.push({ name, constant, at: node.start })
    }
  })
  return source
}

interface Node {
  type: string
  start: number
  name?: string
  value?: unknown
  source?: Node | null
  callee?: Node
  object?: Node
  local?: Node
  property?: Node
  arguments?: Node[]
  left?: Node
  right?: Node
}

function isConstant(node: Node): boolean {
  if (node.type === 'BinaryExpression') return isConstant(node.left!) && isConstant(node.right!)
  return node.type === 'Literal' && typeof node.value === 'number'
}

// Whatever has a `source` imports: import, export from, import(), and import types.
function walk(tree: unknown, visit: (node: Node) => void): void {
  if (typeof tree !== 'object' || tree === null) return
  if (Array.isArray(tree)) {
    for (const item of tree) walk(item, visit)
    return
  }
  if ('type' in tree) visit(tree as Node)
  for (const value of Object.values(tree)) walk(value, visit)
}

if (import.meta.main) {
  const breaches = checkHouse(join(import.meta.dirname, '..'))
  for (const { file, line, rule } of breaches) console.error(`${file}:${line}: ${rule}`)
  if (breaches.length > 0) process.exitCode = 1
}
