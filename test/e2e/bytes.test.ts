import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import { type Dut, dutTest, expect, type Vm } from 'vitest-dut'

const test = dutTest({ vms: 1, vm: { memory: '256M' } })
const MB = 2 ** 20

const BOTH = ['vm', 'dut'] as const
/** The same commands in a guest and on the host. */
const of = (who: (typeof BOTH)[number], { vm, dut }: { vm: Vm; dut: Dut }) =>
  who === 'vm' ? vm : dut

test.describe.for(BOTH)('%s.exec', (who) => {
  // The child waits for nothing but the end of its parent, and starts no program over it.
  const LATER = 'while [ -d /proc/$parent ]; do :; done'
  const PARENT = 'parent=$BASHPID; '

  test.for([
    ['a child that prints after its end', `(${LATER}; echo late) & echo hi`, 'hi\nlate\n'],
    ['what its output goes through', `echo a > >(${LATER}; read x; echo got $x)`, 'got a\n'],
    ['both streams of a child', `(${LATER}; echo b; echo c >&2) & echo a`, 'a\nb\nc\n'],
  ] as const)('has %s', async ([, command, stdout], { vm, dut }) => {
    const result = await of(who, { vm, dut }).exec(PARENT + command)
    expect(result.stdout).toBe(stdout)
    expect(result.durationMs).toBeLessThan(15_000)
  })

  test('has nothing of a child that prints much later', async ({ vm, dut }) => {
    const guest = of(who, { vm, dut })
    const { stdout } = await guest.exec(
      `(trap 'kill $!' TERM; sleep 60 & wait; echo late) & echo $!`,
    )
    expect(stdout).toMatch(/^\d+\n$/)
    await guest.exec(`kill ${stdout}`, { check: true }) // none is left behind
  })

  test('has standard error of a child apart, though standard output is over', async ({
    vm,
    dut,
  }) => {
    const command = `${PARENT}echo a; (${LATER}; echo b >&2) >/dev/null & exit 5`
    const result = await of(who, { vm, dut }).exec(command, { stderr: 'apart' })
    expect(result).toMatchObject({ stdout: 'a\n', stderr: 'b\n', exitCode: 5 })
  })

  test('leaves a child that writes on alive', async ({ vm, dut }) => {
    const machine = of(who, { vm, dut })
    const file = `/tmp/bytes-${crypto.randomUUID()}`
    const child = `until [ -e ${file} ]; do sleep 0.05; done; echo x; echo y; echo $? >${file}`
    await machine.exec(`(${child}) & echo hi`)
    await machine.exec(`touch ${file}`)
    await expect.poll(async () => (await machine.exec(`cat ${file}`)).stdout).toBe('0\n')
    await machine.exec(`rm ${file}`)
  })

  test('says what is too much, with the true status', async ({ vm, dut }) => {
    const running = of(who, { vm, dut }).exec('head -c 3M /dev/zero; exit 3', { maxOutput: '1M' })
    await expect(running).rejects.toThrow(
      /ended with status 3, and printed 3M to stdout, more than maxOutput \(1M\)/,
    )
    expect((await of(who, { vm, dut }).exec('echo on')).stdout).toBe('on\n')
  })

  test('writes to a file of this machine', async ({ vm, dut }) => {
    const file = join(await mkdtemp(join(tmpdir(), 'bytes-')), 'out')
    onTestFinished(() => rm(dirname(file), { recursive: true }))
    const options = { stdout: { file } }
    const result = await of(who, { vm, dut }).exec('head -c 3M /dev/zero; echo end >&2', options)
    expect(result.stdout).toBe('')
    expect((await stat(file)).size).toBe(3 * MB + 4)
    expect((await readFile(file)).subarray(-4).toString()).toBe('end\n')
  })
})

test('an input that the guest has no memory for is refused, and the guest goes on', async ({
  vm,
}) => {
  const running = vm.exec('wc -c', { input: new Uint8Array(400 * MB) })
  await expect(running).rejects.toThrow(/cannot keep what was sent: Cannot allocate memory/)
  expect((await vm.exec('echo on')).stdout).toBe('on\n')
  expect(vm.kernelLog).not.toMatch(/oom|out of memory/i)
})

test('a file of many pieces arrives as it is, in both directions', async ({ vm }) => {
  const data = randomBytes(40 * MB + 1)
  await vm.copyIn(data, '/dev/shm/large', { mode: 0o600 })
  expect((await vm.exec('stat -c "%s %a" /dev/shm/large')).stdout).toBe(`${data.length} 600\n`)
  const back = await vm.copyOut('/dev/shm/large')
  const sum = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
  expect(sum(back)).toBe(sum(data))
  // The copy replaces what was there, and is not added to it.
  await vm.copyIn('short', '/dev/shm/large')
  expect(Buffer.from(await vm.copyOut('/dev/shm/large')).toString()).toBe('short')
})
