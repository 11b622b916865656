import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { poll } from '../../src/wait.ts'
import { HEAD, makeProject } from '../support/project.ts'

const spec = (round: number) => `${HEAD}
const test = dutTest({ vm: { memory: '192M' } })
test('round ${round}', async ({ vm }) => {
  const { stdout } = await vm.exec('cat /proc/sys/kernel/random/boot_id; ls /tmp', { check: true })
  await vm.exec('touch /tmp/left')
  mark('round-${round}', JSON.stringify({ startedBy: vm.startedBy, pid: vm.pid, stdout }))
})`

interface Seen {
  startedBy: string
  pid: number
  stdout: string
}

test('in watch mode each run of a spec has VMs of its own', async () => {
  const project = makeProject({ 'a.spec.ts': spec(0) })
  const { child, ended } = project.watch()
  const seen: Seen[] = []
  for (let round = 0; round < 3; round++) {
    if (round > 0) project.write('a.spec.ts', spec(round))
    seen.push(JSON.parse(await project.mark(`round-${round}`)))
    // Gone before the next one begins, so that a change during the run is not missed either.
    const gone = () => !existsSync(`/proc/${seen[round]?.pid}`) || undefined
    await poll(gone, { timeoutMs: 30_000 })
  }
  expect(seen.map(({ startedBy }) => startedBy)).toEqual(['clone', 'clone', 'clone'])
  expect(new Set(seen.map(({ pid }) => pid)).size).toBe(3)
  expect(new Set(seen.map(({ stdout }) => stdout)).size).toBe(3)
  for (const { stdout } of seen) expect(stdout).not.toContain('left')

  child.kill('SIGINT')
  await ended
  await expect.poll(() => project.processes()).toEqual([])
  expect(existsSync(join(project.dir, 'run/lock'))).toBe(true)
})
