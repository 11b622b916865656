import { execFileSync } from 'node:child_process'
import { expect, onTestFinished, test, vi } from 'vitest'
import { CommandTimeoutError } from '../../src/errors.ts'
import { localShell } from '../support/local-shell.ts'

/** A machine whose processes can be stopped, as all of a guest's are while its CPUs do not run. */
async function machine() {
  const { shell, console, pty, life } = await localShell({ lookAside: true })
  const { output } = await shell.cmd('echo $$')
  const all = () => {
    const children = execFileSync('ps', ['-o', 'pid=', '--ppid', output.trim()], {
      encoding: 'utf8',
    })
    return [Number(output), ...children.trim().split(/\s+/).map(Number)]
  }
  let stopped: number[] = []
  const signal = (name: NodeJS.Signals) => {
    for (const pid of stopped) process.kill(pid, name)
  }
  const stop = () => {
    stopped = all()
    signal('SIGSTOP')
  }
  const goOn = () => {
    signal('SIGCONT')
    stopped = []
  }
  onTestFinished(goOn)
  return { shell, console, pty, life, stop, goOn }
}

const full = new Error('the disk is full')

test('a shell is got back after its machine stood still, however often it did', async () => {
  const { shell, console, life, stop, goOn } = await machine()
  const running = shell.cmd('echo waiting; sleep 1000', 'never', '60s')
  await console.expect('waiting\n', '10s')
  stop()
  life.standStill({ hint: 'full', cause: full })
  await expect(running).rejects.toBe(full)
  const send = vi.spyOn(console, 'send')
  for (let i = 0; i < 4; i++) {
    const typed = send.mock.calls.length
    life.goOn()
    await expect.poll(() => send.mock.calls.length).toBeGreaterThan(typed)
    life.standStill({ hint: 'full', cause: full })
    await expect(shell.cmd('true')).rejects.toBe(full)
  }
  life.goOn()
  const back = shell.cmd('echo back', '', '30s')
  goOn()
  expect((await back).output).toBe('back\n')
})

test('the time that its machine is paused is not the time of a program that is to end', {
  timeout: 30_000,
}, async () => {
  const { shell, console, life, stop, goOn } = await machine()
  const running = shell.cmd('echo waiting; sleep 1000', 'never', '60s')
  await console.expect('waiting\n', '10s')
  stop()
  life.alarm(full)
  await expect(running).rejects.toBe(full)
  life.standStill({ hint: 'the VM is paused' })
  const early = shell.cmd('echo early', '', '7s')
  const error = await early.catch((error: unknown) => error)
  expect(error).toBeInstanceOf(CommandTimeoutError)
  expect(error).toHaveProperty('hint', 'the VM is paused')
  life.goOn()
  const back = shell.cmd('echo back', '', '30s')
  goOn()
  expect((await back).output).toBe('back\n')
})
