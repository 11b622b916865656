import { type ChildProcess, spawn } from 'node:child_process'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { access } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { poll } from '../../src/wait.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** A Vitest project in a folder of its own, run as a user would run it. */
export interface Project {
  dir: string
  /** Starts `vitest run`; the process is the main one, so that signals reach it. */
  vitest(...args: string[]): Running
  /** Starts `vitest watch`. */
  watch(...args: string[]): Running
  /** Writes a spec anew. */
  write(name: string, text: string): void
  /** Command lines of what runs on the project's behalf: QEMUs, hubs, testpmds. */
  processes(): string[]
  /** Run folders that are there. */
  runFolders(): string[]
  /** Resolves when the project's specs have written that file. */
  mark(name: string): Promise<string>
}

export interface Running {
  child: ChildProcess
  /** What it has printed so far. */
  output(): string
  ended: Promise<{ status: number | null; signal: string | null; output: string }>
}

/** What a spec in a project begins with. */
export const HEAD = `
import { writeFileSync } from 'node:fs'
import { dutTest, expect } from 'vitest-dut'
const mark = (name: string, text = '') => writeFileSync(name, text)
mark('worker', String(process.pid))
`

/** @param prefix what runs Vitest, with its arguments: another user, other namespaces */
export function makeProject(
  specs: Record<string, string>,
  { plugin = 'dut()', prefix = [] }: { plugin?: string; prefix?: readonly string[] } = {},
): Project {
  const dir = mkdtempSync(join(tmpdir(), 'dut-'))
  symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'))
  writeFileSync(join(dir, 'package.json'), '{ "type": "module" }')
  writeFileSync(
    join(dir, 'vitest.config.ts'),
    `import { defineConfig } from 'vitest/config'
import { dut } from '${root}src/plugin.ts'
export default defineConfig({
  plugins: [${plugin}],
  resolve: { alias: [
    { find: /^vitest-dut$/, replacement: '${root}src/index.ts' },
    { find: /^vitest-dut\\/dpdk$/, replacement: '${root}src/dpdk/index.ts' },
  ] },
  test: { include: ['*.spec.ts'], expect: { poll: { timeout: 30_000 } } },
})
`,
  )
  for (const [name, text] of Object.entries(specs)) writeFileSync(join(dir, name), text)
  const started: ChildProcess[] = []
  onTestFinished(async () => {
    for (const child of started) if (child.exitCode === null) child.kill('SIGKILL')
    rmSync(dir, { recursive: true, force: true })
  })
  const start = (...words: string[]): Running => {
    const vitest = [join(root, 'node_modules/vitest/vitest.mjs'), ...words, '--root', dir]
    const [file = '', ...rest] = [...prefix, process.execPath, ...vitest]
    const child = spawn(file, rest, {
      cwd: dir,
      env: environment(dir),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    started.push(child)
    let output = ''
    child.stdout.on('data', (data) => {
      output += data
    })
    child.stderr.on('data', (data) => {
      output += data
    })
    const ended = new Promise<Awaited<Running['ended']>>((resolve) => {
      child.once('close', (status, signal) => resolve({ status, signal, output }))
    })
    return { child, ended, output: () => output }
  }
  return {
    dir,
    vitest: (...args) => start('run', ...args),
    watch: (...args) => start('watch', ...args),
    write: (name, text) => writeFileSync(join(dir, name), text),
    processes: () => processesOf(dir),
    runFolders: () => {
      const base = join(dir, 'run')
      return existsSync(base) ? readdirSync(base).filter((name) => name !== 'lock') : []
    },
    mark: async (name) => {
      const file = join(dir, name)
      await poll(
        () =>
          access(file).then(
            () => true,
            () => undefined,
          ),
        { timeoutMs: 60_000 },
      )
      return poll(() => readFileSync(file, 'utf8') || undefined, { timeoutMs: 5000 })
    },
  }
}

/** Command lines that hold `text`, of processes other than Vitest's own. */
function processesOf(text: string): string[] {
  const lines: string[] = []
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      if (line.includes(text) && !line.includes('vitest.mjs')) lines.push(`${pid} ${line}`)
    } catch {} // it has ended meanwhile
  }
  return lines
}

/** As outside of Vitest, and with run folders of the project's own. */
function environment(dir: string): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([key]) =>
      !/^(VITEST|VITE_|TEST|NODE_ENV|MODE|DEV|PROD|SSR|BASE_URL)/.test(key) ||
      /^VITEST_DUT/.test(key),
  )
  return { ...Object.fromEntries(own), VITEST_DUT_RUN_DIR: join(dir, 'run'), NO_COLOR: '1' }
}
