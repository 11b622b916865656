import { describe, expect, test } from 'vitest'
import { poll } from '../../src/wait.ts'
import { HEAD, makeProject, type Project } from '../support/project.ts'

const SLOW = `${HEAD}
const test = dutTest({ vms: 2 })
test('long', { timeout: 600_000 }, async ({ vms }) => {
  mark('testing', 'yes')
  await Promise.all(vms.map((vm) => vm.cmd('sleep 1000', '', '10m')))
})
`

const gone = (project: Project) =>
  poll(() => (project.processes().length === 0 ? true : undefined), { timeoutMs: 10_000 })

/** Resolves when QEMUs run but no test does yet. */
const booting = (project: Project) =>
  poll(() => (project.processes().some((line) => line.includes('-kernel')) ? true : undefined), {
    timeoutMs: 60_000,
  })

const moments: [string, (project: Project) => Promise<unknown>][] = [
  ['while VMs boot', booting],
  ['while tests run', (project) => project.mark('testing')],
]

describe.each(moments)('%s', (_, moment) => {
  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)(
    '%s to the main process tears down in order, with its status',
    async (signal, status) => {
      const project = makeProject({ 'slow.spec.ts': SLOW })
      const { child, ended } = project.vitest()
      await moment(project)
      const startedAt = performance.now()
      child.kill(signal)
      expect(await ended).toMatchObject({ status })
      await gone(project)
      expect(performance.now() - startedAt).toBeLessThan(2000)
      expect(project.runFolders()).toEqual([])
    },
  )

  test('SIGKILL of the main process leaves nothing that runs; the next start sweeps', async () => {
    const project = makeProject({ 'slow.spec.ts': SLOW, 'quick.spec.ts': quick })
    const { child, ended } = project.vitest('slow')
    await moment(project)
    const startedAt = performance.now()
    child.kill('SIGKILL')
    await ended
    await gone(project)
    expect(performance.now() - startedAt).toBeLessThan(2000)
    expect(project.runFolders()).toHaveLength(1)
    expect(await project.vitest('quick').ended).toMatchObject({ status: 0 })
    expect(project.runFolders()).toEqual([])
  })

  test('SIGKILL of the worker fails the run and leaves nothing', async () => {
    const project = makeProject({ 'slow.spec.ts': SLOW })
    const { ended } = project.vitest()
    await moment(project)
    const worker = Number(await project.mark('worker'))
    const startedAt = performance.now()
    process.kill(worker, 'SIGKILL')
    await gone(project)
    expect(performance.now() - startedAt).toBeLessThan(2000)
    expect(await ended).toMatchObject({ status: 1 })
    expect(project.runFolders()).toEqual([])
  })
})

const quick = `${HEAD}
const test = dutTest({ vms: 0 })
test('nothing', () => {})
`
