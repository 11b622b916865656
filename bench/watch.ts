import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { poll } from '../src/wait.ts'
import { median, type Row, time } from './measure.ts'

const ROUNDS = 7
/** What a person takes for at once. */
const AT_ONCE_MS = 1500

const root = join(import.meta.dirname, '..')
const CONFIG = `
import { defineConfig } from 'vitest/config'
import { dut } from '${root}/src/plugin.ts'
export default defineConfig({
  plugins: [dut()],
  resolve: { alias: { 'vitest-dut': '${root}/src/index.ts' } },
})`
const HEAD = `import { writeFileSync } from 'node:fs'\n`
const ours = (round: number) => `${HEAD}import { dutTest } from 'vitest-dut'
const test = dutTest()
test('a', async ({ vm }) => { await vm.cmd('true'); writeFileSync('mark', '${round}') })`
const bare = (round: number) => `${HEAD}import { test } from 'vitest'
test('a', () => { writeFileSync('mark', '${round}') })`

/** From a change in a spec to its first command in a VM, against the same spec without VMs. */
export async function watch(): Promise<Row> {
  const [with_, without] = [await changes(ours), await changes(bare)]
  return {
    what: 'watch mode: a change to its first command',
    ours: `${with_.toFixed(0)} ms`,
    floor: `${without.toFixed(0)} ms`,
    ratio: with_ / without,
    target: `<= ${AT_ONCE_MS} ms`,
    ok: with_ <= AT_ONCE_MS,
  }
}

async function changes(spec: (round: number) => string): Promise<number> {
  const dir = await mkdtemp(join(tmpdir(), 'bench-watch-'))
  await symlink(join(root, 'node_modules'), join(dir, 'node_modules'))
  await writeFile(join(dir, 'vitest.config.ts'), CONFIG)
  await writeFile(join(dir, 'a.spec.ts'), spec(0))
  const vitest = [join(root, 'node_modules/vitest/vitest.mjs'), 'watch', '--root', dir]
  const child = spawn(process.execPath, vitest, { cwd: dir, stdio: ['ignore', 'pipe', 'ignore'] })
  let waits = 0
  child.stdout.on('data', (data) => {
    waits += String(data).includes('Waiting for file changes') ? 1 : 0
  })
  const marked = (round: number) =>
    poll(
      async () => {
        const text = await readFile(join(dir, 'mark'), 'utf8').catch(() => '')
        return text === String(round) || undefined
      },
      { timeoutMs: 60_000, everyMs: 5 },
    )
  const times: number[] = []
  try {
    await marked(0)
    for (let round = 1; round <= ROUNDS; round++) {
      await poll(() => waits >= round || undefined, { timeoutMs: 60_000 })
      times.push(
        await time(async () => {
          await writeFile(join(dir, 'a.spec.ts'), spec(round))
          await marked(round)
        }),
      )
    }
  } finally {
    child.kill('SIGINT')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    await rm(dir, { recursive: true })
  }
  return median(times)
}
