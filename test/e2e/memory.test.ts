import { mkdirSync, readFileSync, rmdirSync, truncateSync, writeFileSync } from 'node:fs'
import { onTestFinished } from 'vitest'
import { dutTest, expect, type Vm, VmDiedError } from 'vitest-dut'
import { testpmd } from 'vitest-dut/dpdk'

/* Memory that there is not: in the guest, and on the host. */

const test = dutTest({ vms: 0 })
const PATIENCE = { timeout: 300_000 }
const isRoot = process.getuid?.() === 0
const HOG = 'tail /dev/zero'

/** The shell at the console has not been started anew, and all else answers. */
async function allAnswer(vm: Vm, shell: string) {
  expect((await vm.exec('echo alive', { timeout: '30s' })).stdout).toBe('alive\n')
  expect((await vm.cmd('echo $$', '', '30s')).output).toBe(shell)
}

test(
  'a process that wants more than all memory ends, and nothing else does',
  PATIENCE,
  async ({ dut }) => {
    const vm = await dut.start({ memory: '256M' })
    const { output: shell } = await vm.cmd('echo $$')
    const agent = vm.exec('sleep 1000', { timeout: '10m' })
    agent.catch(() => {})
    await expect(vm.exec(HOG, { check: true })).rejects.toThrow(
      /ended with status 137[\s\S]*→ the guest's kernel killed tail \(process \d+\) for want of memory, which had \d+M of it, of \d+M in all/,
    )
    await allAnswer(vm, shell)
    const many = await vm.exec(`for i in 1 2 3; do ${HOG} & done; wait -n; echo first $?; wait`)
    expect(many.stdout).toMatch(/first 137/)
    await allAnswer(vm, shell)
    const [{ exitCode } = {}] = (await vm.cmd(HOG, '', '60s')).steps
    expect(exitCode).toBe(137)
    await allAnswer(vm, shell)
    await expect(vm.spawn(`exec ${HOG}`, { prompt: 'never', timeout: '60s' })).rejects.toThrow(
      /has ended with status 137[\s\S]*→ the guest's kernel killed tail/,
    )
    await allAnswer(vm, shell)
    const { stdout } = await vm.exec(
      'cat /proc/1/oom_score_adj /proc/self/oom_score_adj /proc/$PPID/oom_score_adj',
    )
    expect(stdout).toBe('-1000\n0\n-1000\n')
    expect((await vm.cmd('cat /proc/self/oom_score_adj')).output).toBe('0\n')
  },
)

// The least that a guest can have, and one in which a large file is to fit.
test.for([
  ['128M', '10M'],
  ['256M', '90M'],
] as const)(
  'all file systems in the memory of a guest of %s are full, and it answers',
  PATIENCE,
  async ([memory, fits], { dut }) => {
    const vm = await dut.start({ memory })
    const { output: shell } = await vm.cmd('echo $$')
    await vm.exec(`head -c ${fits} /dev/urandom >/dev/shm/x && rm /dev/shm/x`, { check: true })
    const files = ['/full', '/dev/full', '/run/full', '/dev/shm/full']
    for (const file of files) {
      const { stdout } = await vm.exec(`dd if=/dev/zero of=${file} bs=1M`, {
        timeout: '60s',
      })
      expect(stdout).toContain('No space left')
      expect((await vm.exec('echo alive', { timeout: '30s' })).stdout).toBe('alive\n')
    }
    // No program had to end for it.
    expect((await vm.exec('dmesg')).stdout).not.toContain('Out of memory')
    await vm.exec(`rm ${files.join(' ')}`, { check: true, timeout: '30s' })
    expect((await vm.cmd('echo $$', '', '60s')).output).toBe(shell)
  },
)

test('a testpmd that the OOM killer takes says so', PATIENCE, async ({ dut }) => {
  const vm = await dut.start({ memory: '256M' })
  const options = { vdevs: ['net_null0'], hugepages: false, memory: 64, mbufs: 2048 }
  await using pmd = await testpmd(vm, options)
  await vm.exec('echo 1000 >/proc/$(pgrep dpdk-testpmd)/oom_score_adj', { check: true })
  vm.exec('head -c 165M /dev/zero | tail -n 1 >/dev/null', { timeout: '4m' }).catch(() => {})
  await expect(pmd.program.console.expect('never', '4m')).rejects.toThrow(
    /has ended with status 137[\s\S]*→ the guest's kernel killed dpdk-testpmd/,
  )
})

test('a program of the host that reads where it may not says so', async ({ dut }) => {
  const crash = ['python3', '-c', 'import ctypes; ctypes.string_at(0)']
  await expect(dut.spawn(crash, { prompt: 'never' })).rejects.toThrow(
    /has ended with status 139[\s\S]*→ it read or wrote where it may not, which is a fault of/,
  )
})

test.skipIf(!isRoot)(
  'a QEMU that is at the limit of a control group says so',
  PATIENCE,
  async ({ dut }) => {
    const [line = ''] = readFileSync('/proc/self/cgroup', 'utf8')
      .split('\n')
      .filter((one) => one.split(':')[1] === 'memory' || one.startsWith('0::'))
    const [, controller, path = ''] = line.split(':')
    const root = controller === 'memory' ? '/sys/fs/cgroup/memory' : '/sys/fs/cgroup'
    const group = `${root}${path}/dut-memory-${process.pid}`
    const vm = await dut.start({ memory: '256M' })
    mkdirSync(group)
    onTestFinished(() => rmdirSync(group))
    const limit = controller === 'memory' ? 'memory.limit_in_bytes' : 'memory.max'
    writeFileSync(`${group}/${limit}`, String(32 << 20))
    writeFileSync(`${group}/cgroup.procs`, String(vm.pid))
    const error = await vm.exec('head -c 90M /dev/urandom >/dev/shm/x').catch((error) => error)
    expect(error).toBeInstanceOf(VmDiedError)
    expect(error.message).toMatch(
      /QEMU was killed by SIGKILL[\s\S]*\n→ the host's kernel (killed it|has killed processes) for want of memory/,
    )
  },
)

test('a QEMU whose memory was cut short says so', PATIENCE, async ({ dut }) => {
  const vm = await dut.start({ memory: { size: '256M', shared: true } })
  truncateSync(`/proc/${vm.pid}/fd/5`, 0)
  const error = await vm.exec('head -c 20M /dev/urandom >/dev/shm/x').catch((error) => error)
  expect(error).toBeInstanceOf(VmDiedError)
  expect(error.message).toMatch(
    /QEMU was killed by SIGBUS[\s\S]*\n→ a page of its memory could not be had: has something cut its memory file short/,
  )
})
