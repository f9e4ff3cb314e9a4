require('http').createServer((req, res) => {
  const s = req.socket;
  res.end(`${s.remoteAddress} ${s.remotePort} at ${s.localAddress} ${s.localPort}`);
}).listen(8080);
