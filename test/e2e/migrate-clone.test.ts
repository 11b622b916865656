import { dutTest, expect, link, type Vm } from 'vitest-dut'
import { moveUnderStream } from '../support/moving-stream.ts'
import { isRunning } from '../support/processes.ts'

// Clones, whose memory is mapped from a template.
const test = dutTest({ vms: 2, vm: { memory: '256M', boot: 'template', devices: [link('lan')] } })

const ROUNDS = 5
/** For so many moves, on a machine that others use too. */
const MOVING_MS = 180_000

test.beforeAll(async ({ vms }) => {
  for (const [i, vm] of vms.entries()) {
    expect(vm.startedBy).toBe('clone')
    await vm.exec(`ip addr add 10.0.0.${i + 1}/24 dev eth0; ip link set eth0 up`, { check: true })
  }
})

// Writes all its memory again and again, in place and without a system call, and looks at each page
// before it does whether that has what was written last.
const KEEPER = `
import array, sys
PAGES, WORDS = 2048, 512
memory = array.array('Q', bytes(PAGES * WORDS * 8))
n = 0
while True:
    for at in range(0, PAGES * WORDS, WORDS):
        if memory[at] != n:
            print('page', at // WORDS, 'is of', memory[at], 'not of', n, flush=True)
            sys.exit(1)
        memory[at] = n + 1
    n += 1
    if n % 20 == 0:
        print('round', n, flush=True)
`

test('nothing is lost that a program writes', async ({ vm }) => {
  await vm.copyIn(KEEPER, '/root/keeper.py')
  const keeper = await vm.spawn('python3 /root/keeper.py')
  await keeper.expect(/round \d+\n/)
  for (let round = 0; round < ROUNDS; round++) {
    const from = vm.pid
    const { passes } = await vm.migrate()
    expect(passes).toBeGreaterThan(1)
    expect(isRunning(from)).toBe(false)
    await keeper.expect(/round \d+\n.*round \d+\n/s)
  }
  await keeper.interrupt()
  expect(keeper.console.text).not.toContain('page')
  await keeper.close()
})

test('nothing is lost under a stream, whichever end moves', { timeout: MOVING_MS }, async ({
  vms,
}) => {
  const [a, b] = vms as [Vm, Vm]
  await moveUnderStream([a, b], ROUNDS)
})
