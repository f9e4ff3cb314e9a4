import asyncio


async def serve(r, w):
    await r.readuntil(b"\r\n\r\n")
    w.write(repr(w.get_extra_info("peername")).encode())
    await w.drain()
    w.close()


async def main():
    await (await asyncio.start_server(serve, "0.0.0.0", 8080)).serve_forever()


asyncio.run(main())
