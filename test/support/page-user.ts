import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Host } from '../../src/host/host.ts'
import type { GrantedLease } from '../../src/lease/admission/grant.ts'
import { touchedPages } from '../../src/lease/resources/memory.ts'
import { startQemu } from '../../src/qemu/process.ts'
import { poll, waitFor } from '../../src/wait.ts'

export interface PageUser {
  pid: number
  /** Resolves when it is gone, and its pages with it. */
  kill(): Promise<void>
}

/** A QEMU, without a guest, that holds a lease and has all of its huge pages. */
export async function usePages(
  host: Host,
  { lockFile, holding }: Pick<GrantedLease, 'lockFile' | 'holding'>,
): Promise<PageUser> {
  const bytes = (holding.pages?.count ?? 0) * 2 ** 21
  const dir = await mkdtemp(join(tmpdir(), 'pages-'))
  const backend = `memory-backend-memfd,id=m,size=${bytes},hugetlb=on,hugetlbsize=2M,share=on,prealloc=on`
  const qemu = startQemu(
    host,
    [
      ...['qemu-system-x86_64', '-machine', 'none', '-nodefaults', '-display', 'none'],
      ...['-S', '-object', backend],
    ],
    { dir, lockFile },
  )
  const ended = qemu.exited.then(async () => {
    throw new Error(`QEMU ended: ${(await qemu.complaints()).join('\n')}`)
  })
  const all = async () => ((await touchedPages(host, qemu.pid)) === bytes ? true : undefined)
  const kill = async () => {
    qemu.kill()
    await qemu.exited
    await rm(dir, { recursive: true })
  }
  try {
    await waitFor(Promise.race([poll(all, { timeoutMs: 30_000 }), ended]))
  } catch (error) {
    await kill()
    throw error
  }
  return { pid: qemu.pid, kill }
}
