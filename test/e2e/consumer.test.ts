import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Consumer, openConsumer } from '../support/consumer.ts'

// What docs and README show, word for word: the package's promise to those who install it.
const CONFIG = `
import { defineConfig } from 'vitest/config'
import { dut } from 'vitest-dut/plugin'

export default defineConfig({
  plugins: [dut()],                       // one DUT: this machine
})
`
const SPEC = `
import { dutTest, expect, link } from 'vitest-dut'

const test = dutTest({
  vms: 2,                                                   // on each DUT
  vm: ({ dut, index }) => ({ memory: '512M', cpus: 1, devices: [link('lan')] }),
})

test('the guests reach each other', async ({ vms: [a, b] }) => {
  await a.cmd(['ip addr add 10.0.0.1/24 dev eth0', 'ip link set eth0 up'], ['', ''], ['5s', '5s'])
  await b.cmd(['ip addr add 10.0.0.2/24 dev eth0', 'ip link set eth0 up'], ['', ''], ['5s', '5s'])
  const { stdout, exitCode } = await b.exec('ping -c 3 10.0.0.1')
  expect(exitCode).toBe(0)
  expect(stdout).toContain(' 0% packet loss')
})
`

let consumer: Consumer
beforeAll(async () => {
  consumer = await openConsumer()
  await consumer.write({ 'vitest.config.ts': CONFIG, 'two-guests.spec.ts': SPEC })
})
afterAll(() => consumer?.[Symbol.asyncDispose]())

test('the example type-checks, the declarations of the package included', async () => {
  await consumer.run('npx', 'tsc', '--noEmit')
})

test('the example passes with two guests', async () => {
  expect(await consumer.run('npx', 'vitest', 'run')).toMatch(/Tests +1 passed/)
})
