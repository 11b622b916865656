// Enters and leaves a section as told, a line each, and prints when it did, in milliseconds of a clock
// that all processes share.
import { createInterface } from 'node:readline'
import { localHost } from '../src/host/local.ts'
import { section } from '../src/lease/locks/section.ts'

const now = () => performance.timeOrigin + performance.now()

const host = localHost()
const told = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
while (!(await told.next()).done) {
  const leftAt = await section(host, 'hand-over', async () => {
    console.log(now())
    await told.next()
    return now()
  })
  console.log(leftAt)
}
