import asyncio, errno


async def get(host):
    r, w = await asyncio.open_connection(host, 80)
    w.write(b"GET /x HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % host.encode())
    body = (await r.read()).split(b"\r\n\r\n", 1)[1]
    w.close()
    return body.decode()


async def main():
    # all at once: the loop must turn while connections are under way
    for r in await asyncio.gather(get("web.shop"), get("gone.shop"), get("far.shop"), return_exceptions=True):
        print(errno.errorcode[r.errno] if isinstance(r, OSError) else r)


asyncio.run(main())
